//! Cuts bytes into pieces.

/// Pieces whose lengths follow from a seed. The same seed gives the same cuts, so a finding can be repeated.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) * 2_654_435 + 1;
    // Some seeds cut finely, others coarsely.
    let longest = [1, 2, 3, 7, 40, 300, 5_000, 70_000][usize::from(seed % 8)];
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = 1 + state as usize % longest;
        let (piece, later) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces
}
