//! Where each format has its figures, and what they mean.

mod counts;
mod money;
mod state;
mod value;

use super::reader::AnswerFormat;
use super::scanner::{Field, Node, Step, Tree};
use super::tally::Mark;

pub(super) use self::state::State;
pub(super) use self::value::Document;

/// Which members of an answer are looked at.
pub(super) fn tree(format: AnswerFormat) -> Tree {
    match format {
        AnswerFormat::Silent => |_, _| NOTHING,
        AnswerFormat::OpenAiChat => |node, name| match (node, name) {
            (Node::Root, b"usage") => Step::Keep(Field::Usage),
            (Node::Vendor, b"usage") => Step::Keep(Field::VendorUsage),
            (Node::Root, b"model") => Step::Keep(Field::Model),
            (Node::Root, b"service_tier") => Step::Keep(Field::Tier),
            (Node::Root, b"x_groq") => Step::Into(Node::Vendor),
            (Node::Root, b"choices") => Step::Into(Node::Choices),
            (Node::Choices, b"finish_reason") => Step::Count(Mark::Finish),
            (Node::Choices, b"index") => Step::Count(Mark::Place),
            (Node::Choices, b"delta" | b"text")
            | (Node::Text, b"tool_calls" | b"function" | b"function_call") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::OpenAiResponses => |node, name| match (node, name) {
            (Node::Root | Node::Response, b"usage") => Step::Keep(Field::Usage),
            (Node::Root | Node::Response, b"model") => Step::Keep(Field::Model),
            (Node::Root | Node::Response, b"service_tier") => Step::Keep(Field::Tier),
            (Node::Root, b"type") => Step::Keep(Field::Type),
            (Node::Root, b"response") => Step::Into(Node::Response),
            (Node::Root, b"delta") => Step::Into(Node::Text),
            (Node::Root | Node::Response, b"output") | (Node::Root, b"item") => Step::Into(Node::Items),
            (Node::Items, b"type") => Step::Count(Mark::Item),
            (Node::Items, b"action") => Step::Into(Node::Action),
            (Node::Action, b"type") => Step::Count(Mark::Action),
            _ => NOTHING,
        },
        AnswerFormat::Anthropic => |node, name| match (node, name) {
            (Node::Root | Node::Message, b"usage") => Step::Keep(Field::Usage),
            (Node::Root | Node::Message, b"model") => Step::Keep(Field::Model),
            (Node::Root, b"type") => Step::Keep(Field::Type),
            (Node::Root, b"message") => Step::Into(Node::Message),
            (Node::Root, b"delta") => Step::Into(Node::Text),
            (Node::Text, b"stop_reason") | (Node::Root, b"stop_reason") => Step::Keep(Field::StopReason),
            _ => NOTHING,
        },
        AnswerFormat::Gemini => |node, name| match (node, name) {
            (Node::Root, b"usageMetadata") => Step::Keep(Field::Usage),
            (Node::Root, b"modelVersion") => Step::Keep(Field::Model),
            (Node::Root, b"promptFeedback") => Step::Into(Node::Response),
            (Node::Response, b"blockReason") => Step::Count(Mark::Block),
            (Node::Root, b"candidates") => Step::Into(Node::Candidates),
            (Node::Candidates, b"finishReason") => Step::Count(Mark::Finish),
            (Node::Candidates, b"index") => Step::Count(Mark::Place),
            (Node::Candidates, b"groundingMetadata") => Step::Into(Node::Grounding),
            (Node::Grounding, b"webSearchQueries") => Step::Keep(Field::Queries),
            (Node::Candidates, b"content") => Step::Into(Node::Content),
            (Node::Content, b"parts") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::Cohere => |node, name| match (node, name) {
            (Node::Root | Node::Delta, b"usage") => Step::Keep(Field::Billed),
            (Node::Root | Node::Response, b"meta") => Step::Keep(Field::Billed),
            (Node::Root, b"type" | b"event_type") => Step::Keep(Field::Type),
            (Node::Root, b"response") => Step::Into(Node::Response),
            (Node::Root, b"delta") => Step::Into(Node::Delta),
            (Node::Delta, b"message") | (Node::Text, b"tool_calls" | b"function") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::BedrockConverse => |node, name| match (node, name) {
            (Node::Root, b"usage") => Step::Keep(Field::Usage),
            (Node::Root, b"serviceTier") => Step::Into(Node::Tier),
            (Node::Tier, b"type") => Step::Keep(Field::Tier),
            (Node::Root, b"delta") | (Node::Text, b"toolUse" | b"reasoningContent") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::BedrockInvoke => |node, name| match (node, name) {
            (Node::Root | Node::Message, b"usage") => Step::Keep(Field::Usage),
            (Node::Root, b"message") => Step::Into(Node::Message),
            (Node::Root, b"inputTextTokenCount") => Step::Keep(Field::InputCount),
            (Node::Root, b"results") => Step::Into(Node::Results),
            (Node::Results, b"tokenCount") => Step::Count(Mark::Tokens),
            (Node::Root, b"bytes") => Step::Keep(Field::Wrapped),
            (Node::Root, b"amazon-bedrock-invocationMetrics") => Step::Keep(Field::Metrics),
            _ => NOTHING,
        },
    }
}

/// The same for a chunk that stands in another one of Bedrock's: no chunk is in it.
fn inner_tree(node: Node, name: &[u8]) -> Step {
    match tree(AnswerFormat::BedrockInvoke)(node, name) {
        Step::Keep(Field::Wrapped) => NOTHING,
        step => step,
    }
}

const NOTHING: Step = Step::Into(Node::Nothing);
