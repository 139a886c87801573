//! Where each format has its figures, and what they mean.

mod counts;
mod money;
mod state;

use super::reader::AnswerFormat;
use super::scanner::{Field, Node, Step, Tree};
use super::tally::Mark;

pub(super) use self::state::State;

/// Which members of an answer are looked at.
pub(super) fn tree(format: AnswerFormat) -> Tree {
    match format {
        AnswerFormat::Silent => |_, _| NOTHING,
        AnswerFormat::OpenAiChat => |node, name| match (node, name) {
            (Node::Root, "usage") => Step::Keep(Field::Usage),
            (Node::Vendor, "usage") => Step::Keep(Field::VendorUsage),
            (Node::Root, "model") => Step::Keep(Field::Model),
            (Node::Root, "service_tier") => Step::Keep(Field::Tier),
            (Node::Root, "x_groq") => Step::Into(Node::Vendor),
            (Node::Root, "choices") => Step::Into(Node::Choices),
            (Node::Choices, "finish_reason") => Step::Count(Mark::Finish),
            (Node::Choices, "index") => Step::Count(Mark::Place),
            (Node::Choices, "delta" | "text") | (Node::Text, "tool_calls" | "function" | "function_call") => {
                Step::Into(Node::Text)
            }
            _ => NOTHING,
        },
        AnswerFormat::OpenAiResponses => |node, name| match (node, name) {
            (Node::Root | Node::Response, "usage") => Step::Keep(Field::Usage),
            (Node::Root | Node::Response, "model") => Step::Keep(Field::Model),
            (Node::Root | Node::Response, "service_tier") => Step::Keep(Field::Tier),
            (Node::Root, "type") => Step::Keep(Field::Type),
            (Node::Root, "response") => Step::Into(Node::Response),
            (Node::Root, "delta") => Step::Into(Node::Text),
            (Node::Root | Node::Response, "output") | (Node::Root, "item") => Step::Into(Node::Items),
            (Node::Items, "type") => Step::Count(Mark::Item),
            (Node::Items, "action") => Step::Into(Node::Action),
            (Node::Action, "type") => Step::Count(Mark::Action),
            _ => NOTHING,
        },
        AnswerFormat::Anthropic => |node, name| match (node, name) {
            (Node::Root | Node::Message, "usage") => Step::Keep(Field::Usage),
            (Node::Root | Node::Message, "model") => Step::Keep(Field::Model),
            (Node::Root, "type") => Step::Keep(Field::Type),
            (Node::Root, "message") => Step::Into(Node::Message),
            (Node::Root, "delta") => Step::Into(Node::Text),
            (Node::Text, "stop_reason") | (Node::Root, "stop_reason") => Step::Keep(Field::StopReason),
            _ => NOTHING,
        },
        AnswerFormat::Gemini => |node, name| match (node, name) {
            (Node::Root, "usageMetadata") => Step::Keep(Field::Usage),
            (Node::Root, "modelVersion") => Step::Keep(Field::Model),
            (Node::Root, "promptFeedback") => Step::Into(Node::Response),
            (Node::Response, "blockReason") => Step::Count(Mark::Block),
            (Node::Root, "candidates") => Step::Into(Node::Candidates),
            (Node::Candidates, "finishReason") => Step::Count(Mark::Finish),
            (Node::Candidates, "index") => Step::Count(Mark::Place),
            (Node::Candidates, "groundingMetadata") => Step::Into(Node::Grounding),
            (Node::Grounding, "webSearchQueries") => Step::Keep(Field::Queries),
            (Node::Candidates, "content") => Step::Into(Node::Content),
            (Node::Content, "parts") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::Cohere => |node, name| match (node, name) {
            (Node::Root | Node::Delta, "usage") => Step::Keep(Field::Billed),
            (Node::Root | Node::Response, "meta") => Step::Keep(Field::Billed),
            (Node::Root, "type" | "event_type") => Step::Keep(Field::Type),
            (Node::Root, "response") => Step::Into(Node::Response),
            (Node::Root, "delta") => Step::Into(Node::Delta),
            (Node::Delta, "message") | (Node::Text, "tool_calls" | "function") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::BedrockConverse => |node, name| match (node, name) {
            (Node::Root, "usage") => Step::Keep(Field::Usage),
            (Node::Root, "serviceTier") => Step::Into(Node::Tier),
            (Node::Tier, "type") => Step::Keep(Field::Tier),
            (Node::Root, "delta") | (Node::Text, "toolUse" | "reasoningContent") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::BedrockInvoke => |node, name| match (node, name) {
            (Node::Root | Node::Message, "usage") => Step::Keep(Field::Usage),
            (Node::Root, "message") => Step::Into(Node::Message),
            (Node::Root, "inputTextTokenCount") => Step::Keep(Field::InputCount),
            (Node::Root, "results") => Step::Into(Node::Results),
            (Node::Results, "tokenCount") => Step::Count(Mark::Tokens),
            (Node::Root, "bytes") => Step::Keep(Field::Wrapped),
            (Node::Root, "amazon-bedrock-invocationMetrics") => Step::Keep(Field::Metrics),
            _ => NOTHING,
        },
    }
}

const NOTHING: Step = Step::Into(Node::Nothing);
