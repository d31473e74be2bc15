#!/usr/bin/env bash
# Makes sure that the servers that the tests start are installed: Debian's postgresql, nats-server, prometheus (and its
# promtool), prometheus-alertmanager and chromium; and openssl, which makes certificates for them.
# Installs what is missing as root; says what to install as anybody else. Starts nothing.
set -euo pipefail

has() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

missing=()
{ has postgres && has initdb; } || missing+=(postgresql)
has nats-server || missing+=(nats-server)
has prometheus || missing+=(prometheus)
has prometheus-alertmanager || missing+=(prometheus-alertmanager)
has chromium || missing+=(chromium)
has openssl || missing+=(openssl)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "the tests need these servers installed: ${missing[*]}; on Debian, as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
