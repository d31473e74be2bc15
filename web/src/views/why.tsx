export function Why(_: { id?: string; flow?: string; epoch?: number }) { return <p class="empty">…</p>; }
