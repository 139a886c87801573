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

use super::{Question, Refused};

pub(super) use rows::endpoints;

/// Names and texts of the fields of a form; no text for a file.
///
/// # Errors
/// It is no form, or one that can be read in more than one way.
pub(crate) fn form_texts(question: &Question<'_>) -> Result<Vec<(String, Option<String>)>, Refused> {
    let form = form::Form::parse(question)?;
    form.iter()
        .map(|field| {
            let text = if field.is_file { None } else { Some(field.text()?.to_owned()) };
            Ok((field.name.to_owned(), text))
        })
        .collect()
}
