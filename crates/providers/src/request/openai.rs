//! OpenAI's API, and those that copy it.

mod chat;
mod dialect;
mod embeddings;
mod images;
mod parts;
mod responses;
mod rows;

pub(super) use rows::endpoints;
