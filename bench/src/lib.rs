//! What the benchmarks of till are made of: a provider that costs next to nothing, clients that count, and the hot paths
//! by themselves.
//!
//! `bench/run.py` puts these programs together. Nothing here is part of the product.

pub mod answers;
pub mod figures;
pub mod hot;
pub mod wire;
