//! What a conversation with Claude is made of: blocks of content, and tools.

use super::super::object::{Object, Value};
use super::super::text::{InputBound, Medium, PER_MESSAGE};
use super::super::{RUNS_THERE, Refused, UNKNOWN, unbounded};
use crate::provider::Provider;

/// The vocabulary is not public.
const FACTOR: u64 = 2;

/// An image has at most about 1,600 tokens on older models and 4,784 on those that take large ones
/// (<https://platform.claude.com/docs/en/build-with-claude/vision>), doubled.
const IMAGE_TOKENS: u64 = 9_568;

/// With citations comes a prompt, of which nothing is documented but that it is small
/// (<https://platform.claude.com/docs/en/build-with-claude/citations>).
const CITATION_TOKENS: u64 = 1_024;

/// Tools that the client runs, with tokens of their own beside their description: `computer` 735, `text_editor` 700,
/// `bash` 245 (<https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing>), all doubled.
const CLIENT_TOOLS: [(&str, u64); 4] =
    [("bash_", 490), ("text_editor_", 1_400), ("computer_2", 1_470), ("memory_", 2_048)];

/// Families of tools that the client runs, whose descriptions only the provider knows.
const CLIENT_TOOLSETS: [&str; 2] = ["browser_toolset_", "computer_toolset_"];

/// Blocks of earlier answers that tools of the provider have left. They are nothing but input as long as no such tool
/// is given: a request that gives one is refused.
const HISTORY: [&str; 13] = [
    "advisor_tool_result",
    "bash_code_execution_tool_result",
    "browser_state",
    "code_execution_tool_result",
    "fallback",
    "mcp_tool_listing",
    "mcp_tool_result",
    "mcp_tool_use",
    "server_tool_use",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "web_fetch_tool_result",
    "web_search_tool_result",
];

/// Names of members whose text stands for more than itself.
const SEALED: [&str; 4] = ["encrypted_content", "encrypted_index", "encrypted_stdout", "source"];

/// Puts together the bound of a conversation.
pub(crate) struct Blocks<'a> {
    provider: &'a Provider,
    pub(crate) input: InputBound,
    /// The tools that are given, and the tokens of their descriptions.
    given: Vec<(String, u64)>,
}

/// Kinds of tools that the provider runs, and that ask no other model. An advisor is one.
const HOSTED: [&str; 6] = [
    "code_execution",
    "mcp_toolset",
    "tool_search_tool_bm",
    "tool_search_tool_regex",
    "web_fetch",
    "web_search",
];

impl<'a> Blocks<'a> {
    pub(crate) fn new(provider: &'a Provider) -> Self {
        Self { provider, input: InputBound::new(FACTOR), given: Vec::new() }
    }

    /// Adds a list of tools.
    ///
    /// # Errors
    /// One of them is run by the provider, or not known.
    pub(crate) fn tools(&mut self, list: &Value<'_>, place: &str) -> Result<(), Refused> {
        let malformed = || Refused::Malformed(format!("{place:?} must be an array."));
        for (index, tool) in list.as_array().ok_or_else(malformed)?.iter().enumerate() {
            self.tool(tool, &format!("{place}[{index}]"))?;
        }
        Ok(())
    }

    fn tool(&mut self, tool: &Value<'_>, place: &str) -> Result<(), Refused> {
        let object =
            tool.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        let kind = object.given("type").map_or(Some("custom".into()), |kind| kind.as_str());
        let kind = kind.unwrap_or_default();
        let own = CLIENT_TOOLS.iter().find(|(start, _)| kind.starts_with(start)).map(|(_, tokens)| *tokens);
        let is_set = CLIENT_TOOLSETS.iter().any(|start| kind.starts_with(start));
        if kind != "custom" && own.is_none() && !is_set && !self.provider.is_neutral_tool(&kind) {
            // All but their dates: `web_search_20250305`.
            let name =
                kind.trim_end_matches(|character: char| character.is_ascii_digit() || character == '_');
            return self.input.hosted_tool(tool, name, &HOSTED, &format!("{place}.type {kind:?}"));
        }
        if is_set {
            self.input.unseen(place, Medium::Document);
        }
        self.input.tokens(own.unwrap_or_default());
        self.input.schema(tool, place)?;
        let name = object.given("name").and_then(|name| name.as_str()).unwrap_or_default();
        let tokens = tool.rendered_bytes().unwrap_or_default().saturating_mul(FACTOR);
        self.given.push((name.into_owned(), tokens.saturating_add(PER_MESSAGE + own.unwrap_or_default())));
        Ok(())
    }

    /// Adds the system prompt.
    ///
    /// # Errors
    /// See [`Self::content`].
    pub(crate) fn system(&mut self, system: &Value<'_>) -> Result<(), Refused> {
        self.input.message();
        self.content(system, "system")
    }

    /// Adds all messages.
    ///
    /// # Errors
    /// See [`Self::content`].
    pub(crate) fn conversation(&mut self, list: &Value<'_>) -> Result<(), Refused> {
        let items =
            list.as_array().ok_or_else(|| Refused::Malformed("\"messages\" must be an array.".to_owned()))?;
        for (index, message) in items.iter().enumerate() {
            let place = format!("messages[{index}]");
            let message = message
                .as_object()
                .ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
            self.input.message();
            for (name, value) in message.iter().filter(|(_, value)| !value.is_null()) {
                match name {
                    "role" | "clear_at" => self.input.text(&value),
                    "content" => self.content(&value, &format!("{place}.content"))?,
                    "output_config" => self.input.json(&value, &place)?,
                    name => return Err(unbounded(&format!("{place}.{name}"), UNKNOWN)),
                }
            }
        }
        Ok(())
    }

    /// Adds what says how the answer should be.
    ///
    /// # Errors
    /// It says more than is known.
    pub(crate) fn output_config(&mut self, config: &Value<'_>) -> Result<(), Refused> {
        let config = config
            .as_object()
            .ok_or_else(|| Refused::Malformed("\"output_config\" must be an object.".to_owned()))?;
        for (name, value) in config.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "format" => self.input.schema(&value, "output_config.format")?,
                // The model is told of them.
                "effort" | "task_budget" => self.input.json(&value, "output_config")?,
                name => return Err(unbounded(&format!("output_config.{name}"), UNKNOWN)),
            }
        }
        Ok(())
    }

    /// Adds a text, or an array of blocks.
    fn content(&mut self, value: &Value<'_>, place: &str) -> Result<(), Refused> {
        if value.is_str() {
            self.input.text(value);
            return Ok(());
        }
        let items = value
            .as_array()
            .ok_or_else(|| Refused::Malformed(format!("{place} must be a text or an array of blocks.")))?;
        for (index, block) in items.iter().enumerate() {
            self.block(block, &format!("{place}[{index}]"))?;
        }
        Ok(())
    }

    fn block(&mut self, block: &Value<'_>, place: &str) -> Result<(), Refused> {
        let object =
            block.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        let kind = object.given("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        self.input.message();
        if object.given("citations").is_some_and(|citations| citations.mentions("enabled")) {
            self.input.tokens(CITATION_TOKENS);
        }
        match kind.as_ref() {
            // A signature seals what was thought, of which the text may be a summary. Both are counted.
            "text" | "thinking" | "redacted_thinking" | "tool_use" | "tool_removal" => {
                self.members(&object, place, &[])
            }
            "tool_result" | "search_result" => {
                if let Some(content) = object.given("content") {
                    self.content(&content, &format!("{place}.content"))?;
                }
                self.members(&object, place, &["content"])
            }
            "image" => {
                self.input.image(IMAGE_TOKENS);
                Ok(())
            }
            "document" => self.document(&object, place),
            // A file that lies in a container; at most, the model is shown it.
            "container_upload" => {
                self.input.unseen(place, Medium::Any);
                Ok(())
            }
            "tool_reference" => {
                self.reference(&object, "tool_name");
                Ok(())
            }
            "tool_addition" => self.addition(&object, place),
            "compaction" => {
                for change in
                    object.given("tool_changes").and_then(|list| list.as_array()).unwrap_or_default()
                {
                    self.block(&change, &format!("{place}.tool_changes"))?;
                }
                self.input.unseen(place, Medium::Any);
                Ok(())
            }
            kind if HISTORY.contains(&kind) => self.history(block, place),
            other => {
                let rule = "is a kind of input whose tokens can't be bounded. Send text or images, or ask whoever minted \
                            this key for one without a limit in tokens or money.";
                Err(unbounded(&format!("{place}.type {other:?}"), rule))
            }
        }
    }

    /// Adds the members of a block: texts as they are, everything else as the JSON that it may be shown as.
    fn members(&mut self, object: &Object<'_>, place: &str, without: &[&str]) -> Result<(), Refused> {
        for (name, value) in object.iter().filter(|(name, _)| !without.contains(name)) {
            match name {
                "type" | "cache_control" => {}
                _ if value.is_str() => self.input.text(&value),
                _ => self.input.json(&value, place)?,
            }
        }
        Ok(())
    }

    fn document(&mut self, object: &Object<'_>, place: &str) -> Result<(), Refused> {
        self.members(object, place, &["source"])?;
        let Some(source) = object.given("source") else { return Ok(()) };
        let given = source.as_object();
        let given = |name: &str| given.as_ref().and_then(|source| source.given(name));
        let kind = given("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        match kind.as_ref() {
            "text" => {
                self.input.text(&source);
                // Marks around each sentence: "a slight increase in input tokens"
                // (<https://platform.claude.com/docs/en/build-with-claude/citations>).
                if object.given("citations").is_some() {
                    self.input.text(&source);
                }
                Ok(())
            }
            "content" => match given("content") {
                Some(content) => self.content(&content, &format!("{place}.source.content")),
                None => Ok(()),
            },
            _ => {
                self.input.unseen(place, Medium::Document);
                Ok(())
            }
        }
    }

    /// Adds the description of a tool that a block puts into the conversation: a search of the client "returns
    /// `tool_reference` blocks", which "are automatically expanded into the full tool definition" of a tool that the
    /// request gives (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool>).
    fn reference(&mut self, object: &Object<'_>, member: &str) {
        let name = object.given(member).and_then(|name| name.as_str()).unwrap_or_default();
        self.refer(&name);
    }

    fn refer(&mut self, name: &str) {
        let mut of_name = self.given.iter().filter(|(known, _)| known == name).map(|(_, tokens)| *tokens);
        let most = || self.given.iter().map(|(_, tokens)| *tokens).max();
        let tokens = of_name.next().or_else(most).unwrap_or_default();
        self.input.tokens(tokens);
        self.input.bytes(name.len() as u64);
    }

    /// Adds a tool in the middle of a conversation: one that is given, or one that is described there
    /// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/manage-tool-context>).
    fn addition(&mut self, object: &Object<'_>, place: &str) -> Result<(), Refused> {
        let tool = object.given("tool").and_then(|tool| tool.as_object());
        let given = |name: &str| tool.as_ref().and_then(|tool| tool.given(name));
        let kind = given("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        match (kind.as_ref(), given("definition"), &tool) {
            ("tool_reference", _, Some(tool)) => {
                self.reference(tool, "name");
                Ok(())
            }
            ("tool_definition", Some(definition), _) => {
                self.tool(&definition, &format!("{place}.tool.definition"))
            }
            _ => Err(unbounded(&format!("{place}.tool.type {kind:?}"), RUNS_THERE)),
        }
    }

    fn history(&mut self, block: &Value<'_>, place: &str) -> Result<(), Refused> {
        self.references(block);
        if SEALED.iter().any(|name| block.mentions(name)) {
            self.input.unseen(place, Medium::Any);
            return Ok(());
        }
        self.input.json(block, place)
    }

    /// Adds the descriptions of all tools that something refers to.
    fn references(&mut self, value: &Value<'_>) {
        value.any_member("tool_name", |name| {
            self.refer(&name.unwrap_or_default());
            false
        });
    }
}
