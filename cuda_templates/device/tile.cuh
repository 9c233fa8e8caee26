// A tile of 16-bit elements in shared memory: the one form that the copy engine writes and that ldmatrix and wgmma read
// without bank conflicts. A row of 64 columns is 128 bytes, 8 units of 16; unit u of row r lies at u ^ r % 8:
//
//            place  0   1   2   3   4   5   6   7
//     row 0         0   1   2   3   4   5   6   7
//     row 1         1   0   3   2   5   4   7   6
//     row 2         2   3   0   1   6   7   4   5
//     ...
//     row 7         7   6   5   4   3   2   1   0
//     row 8         as row 0
//
// Such 64 columns are a panel of 128 bytes a row; a tile of more columns is several panels one after the other. A tile
// begins at a multiple of 1024 bytes. As an operand of a product, the contracted dimension (k) may run along the rows
// or along the columns.

// Where unit u lies in its row of 128 bytes.
MS_DEVICE int ms_tile_swizzle (int row, int u) { return (u & 7 ^ row & 7) << 4; }

// Where unit u of a row lies, given where its panel does: a pointer, an address or an offset.
template <class PLACE> MS_DEVICE PLACE ms_tile_at (PLACE panel, int row, int u) {
  return panel + row * 128 + ms_tile_swizzle (row, u);
}
// The same with units counted over the tile's panels of so many bytes.
template <class PLACE> MS_DEVICE PLACE ms_tile_at (PLACE tile, int row, int u, int panel_bytes) {
  return tile + u / 8 * panel_bytes + row * 128 + ms_tile_swizzle (row, u);
}
// The same with rows counted over tiles of 64 rows and so many bytes, one after the other.
template <class PLACE> MS_DEVICE PLACE ms_tile_at (PLACE tiles, int row, int u, int panel_bytes, int tile_bytes) {
  return tiles + row / 64 * tile_bytes + u / 8 * panel_bytes + row % 64 * 128 + ms_tile_swizzle (row, u);
}

// A matrix descriptor of wgmma counts addresses in 16 bytes.
MS_DEVICE unsigned ms_tile_address16 (unsigned address) { return (address & 0x3ffff) >> 4; }

// The descriptor of an operand from 16 k of a tile. Where k runs along the columns, those 16 are 2 units, and the
// panel's bytes have no meaning: 16. Where k runs along the rows, they are 16 rows (2048 bytes) of 64 columns, further
// columns are in the next panel. Rows are swizzled by 128 bytes, 8 rows a group of 1024 bytes.
MS_DEVICE unsigned long long ms_tile_descriptor (unsigned address16, int panel) {
  return ms_word_pair (address16 | (unsigned) (panel >> 4) << 16, 0x40000000u | 1024u >> 4);
}
// Any descriptor: bytes from one panel to the next, from one group of 8 rows to the next; swizzle 1: by 128 bytes, 2:
// by 64.
MS_DEVICE unsigned long long ms_matrix_descriptor (unsigned address, unsigned long long panel, unsigned long long rows,
                                                   unsigned long long swizzle) {
  return (address & 0x3ffff) >> 4 | panel >> 4 << 16 | rows >> 4 << 32 | swizzle << 62;
}
