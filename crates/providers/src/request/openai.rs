//! OpenAI's API, and those that copy it.

mod audio;
mod chat;
mod dialect;
mod embeddings;
mod form;
mod images;
mod ocr;
mod openrouter;
mod parts;
mod responses;
mod rows;

pub(super) use rows::endpoints;
