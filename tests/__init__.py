"""The tests of Penstock: rooms mirrored by folders, and the promises of the product under names of their own."""
