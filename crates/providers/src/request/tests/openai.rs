//! OpenAI's API and those that copy it: what has a bound, which one, and what is refused.

use super::*;
use crate::neutral::{Neutral, NeutralThing};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// The bound of the input of a request that passes.
fn input_of(provider: &str, path: &str, body: &str) -> u64 {
    passes(provider, path, body).input.count(Unit::InputTokens)
}

/// A chat request with one message of one part.
fn chat_part(model: &str, part: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":[{part}]}}]}}"#)
}

/// A Responses request with one item.
fn item(model: &str, item: &str) -> String {
    format!(r#"{{"model":"{model}","input":[{item}]}}"#)
}

/// The demand under a limit in money, or what it is refused for.
fn in_money(provider: &str, facts: &RequestFacts) -> Result<(), String> {
    let model = facts.model.as_deref().expect("a model");
    let price = PRICES.find(REGISTRY.get(provider).expect("built in").price_id(), model);
    match demand(facts, price, true, AT, true) {
        Ok(_) => Ok(()),
        Err(BoundError::Refused(Refused::Unbounded { what, .. })) => Err(what),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn input_without_a_size_is_bounded_by_the_window() {
    for (provider, path, body, window) in [
        ("openai", CHAT, chat_part("gpt-4o", r#"{"type":"file","file":{"file_id":"f"}}"#), 128_000),
        ("openai", CHAT, chat_part("gpt-audio", r#"{"type":"input_audio","input_audio":{}}"#), 128_000),
        (
            "openai",
            RESPONSES,
            item("gpt-4o", r#"{"role":"user","content":[{"type":"input_file","file_url":"https://x"}]}"#),
            128_000,
        ),
        ("openai", RESPONSES, item("gpt-4o", r#"{"type":"item_reference","id":"msg_1"}"#), 128_000),
        ("openai", RESPONSES, item("gpt-4o", r#"{"type":"compaction","encrypted_content":"x"}"#), 128_000),
        ("openai", RESPONSES, item("gpt-4o", r#"{"type":"web_search_call","id":"ws"}"#), 128_000),
        ("openai", RESPONSES, item("gpt-4o", r#"{"type":"mcp_call","id":"m","output":null}"#), 128_000),
        ("openai", RESPONSES, item("gpt-4o", r#"{"type":"reasoning","id":"rs_1","summary":[]}"#), 128_000),
        ("openai", RESPONSES, r#"{"model":"gpt-4o","conversation":"conv_1"}"#.to_owned(), 128_000),
        (
            "mistral",
            CHAT,
            chat_part("mistral-large-2411", r#"{"type":"document_url","document_url":"https://x"}"#),
            128_000,
        ),
    ] {
        let facts = passes(provider, path, &body);
        let held = facts.input.count(Unit::InputTokens);
        assert!(held >= window, "{provider} {body}: {held}");
        assert!(!facts.is_plain_text, "{body}");
    }
    // The table has a million for the 1,047,576 that it takes in.
    let file = chat_part("gpt-4.1", r#"{"type":"file","file":{"file_id":"f"}}"#);
    assert!(input_of("openai", CHAT, &file) >= 1_047_576);
    // Nobody knows what this model takes in.
    let file = chat_part("nobody", r#"{"type":"file","file":{"file_id":"f"}}"#);
    assert_eq!(refused("openai", CHAT, &file), "messages[0].content[0]");
    // What stands beside a file is no file.
    let text = "x".repeat(300_000);
    let hidden =
        chat_part("gpt-4o", &format!(r#"{{"type":"file","file":{{"file_id":"f"}},"text":"{text}"}}"#));
    assert!(input_of("openai", CHAT, &hidden) >= 300_000);
}

#[test]
fn audio_needs_a_price_of_its_own_under_a_limit_in_money() {
    let audio = |model: &str| chat_part(model, r#"{"type":"input_audio","input_audio":{"data":"AAAA"}}"#);
    let facts = passes("openai", CHAT, &audio("gpt-audio"));
    assert_eq!(facts.input.count(Unit::InputAudioTokens), 134_400);
    assert_eq!(in_money("openai", &facts), Ok(()));
    // Its row has a price for text alone, a sixteenth of that of audio.
    let facts = passes("openai", CHAT, &audio("gpt-4o-audio-preview"));
    assert_eq!(in_money("openai", &facts), Err("messages[0].content[0]".to_owned()));
    // Billed by the length of the audio.
    let facts = passes("mistral", CHAT, &audio("voxtral-small-24b-2507"));
    assert_eq!(in_money("mistral", &facts), Err("messages[0].content[0]".to_owned()));
}

#[test]
fn nested_json_has_no_text_and_many_tokens() {
    let empty = vec!["[]"; 1_000].join(",");
    for body in [
        format!(r#"{{"model":"gpt-4o","messages":[{{"role":"assistant","reasoning_details":[{empty}]}}]}}"#),
        format!(r#"{{"model":"gpt-4o","messages":[{{"role":"assistant","annotations":[{empty}]}}]}}"#),
        format!(r#"{{"model":"gpt-4o","messages":[{{"role":"assistant","function_call":[{empty}]}}]}}"#),
        chat_part("gpt-4o", &format!(r#"{{"type":"text","text":[{empty}]}}"#)),
        chat(&format!(r#","tool_choice":[{empty}]"#)),
    ] {
        let held = input_of("openai", CHAT, &body);
        assert!(held >= 2_000, "{held}: {body}");
    }
    let call = format!(r#"{{"type":"function_call","call_id":"c","name":"f","arguments":[{empty}]}}"#);
    assert!(input_of("openai", RESPONSES, &item("gpt-5", &call)) >= 2_000);
    let deep = "[".repeat(80) + &"]".repeat(80);
    let deep = format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","reasoning_details":{deep}}}]}}"#);
    assert_eq!(refused("openai", CHAT, &deep), "messages[0].reasoning_details");
}

/// A provider may read the arguments of a call and write them anew, with a line for each number.
#[test]
fn arguments_of_calls_are_json_in_a_text() {
    let numbers = vec!["1"; 1_000].join(",");
    let call = format!(r#"{{"function":{{"name":"f","arguments":"{{\"a\":[{numbers}]}}"}}}}"#);
    let body = format!(r#"{{"model":"gpt-4o","messages":[{{"role":"assistant","tool_calls":[{call}]}}]}}"#);
    assert!(input_of("openai", CHAT, &body) >= 10_000);
}

#[test]
fn items_that_only_replay_pass() {
    for item_of in [
        r#"{"type":"tool_search_call","execution":"server","arguments":{"queries":["x"]}}"#,
        r#"{"type":"tool_search_output","tools":[{"type":"function","name":"f","parameters":{}}]}"#,
        r#"{"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"f"}]}"#,
        r#"{"type":"local_shell_call","action":{"command":["ls"]}}"#,
        r#"{"type":"shell_call_output","call_id":"c","output":[{"stdout":"x","stderr":"","outcome":{}}]}"#,
        r#"{"type":"apply_patch_call","operation":{"type":"delete_file","path":"x"}}"#,
        r#"{"type":"computer_call","action":{"type":"click","x":1,"y":2}}"#,
        r#"{"type":"function_call_output","call_id":"c","output":"x"}"#,
        r#"{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"x"}]}"#,
    ] {
        let held = input_of("openai", RESPONSES, &item("gpt-5", item_of));
        assert!(held < 20_000, "{item_of}: {held}");
    }
    let shot =
        r#"{"type":"computer_call_output","output":{"type":"computer_screenshot","image_url":"data:"}}"#;
    assert!(passes("openai", RESPONSES, &item("gpt-5", shot)).input.count(Unit::InputImageTokens) > 0);
    for (item_of, what) in [
        // Makes the provider call a tool.
        (r#"{"type":"mcp_approval_response","approve":true}"#, "input[0].type"),
        (r#"{"type":"compaction_trigger"}"#, "input[0].type"),
        // Tools that the provider runs, under another name.
        (r#"{"type":"additional_tools","tools":[{"type":"web_search"}]}"#, "input[0].tools[0].type"),
        (r#"{"type":"tool_search_output","tools":[{"type":"mcp"}]}"#, "input[0].tools[0].type"),
        (r#"{"type":"message","role":"user","new":1}"#, "input[0].new"),
    ] {
        let refused = refused("openai", RESPONSES, &item("gpt-5", item_of));
        assert!(refused.starts_with(what), "{item_of}: {refused}");
    }
    // The call itself may be as long as it likes, but is counted.
    let long = format!(r#"{{"type":"function_call_output","call_id":"{}","output":[]}}"#, "x".repeat(50_000));
    assert!(input_of("openai", RESPONSES, &item("gpt-5", &long)) >= 50_000);
}

/// A short one refers to what the provider keeps; in a long one a token takes several bytes.
#[test]
fn encrypted_reasoning_is_bounded_by_its_bytes_unless_it_is_short() {
    let sealed = |bytes: usize| {
        let sealed = "A".repeat(bytes);
        let reasoning = format!(r#"{{"type":"reasoning","summary":[],"encrypted_content":"{sealed}"}}"#);
        input_of("openai", RESPONSES, &item("gpt-4o", &reasoning))
    };
    assert!(sealed(440) >= 128_000);
    assert!((2_000..20_000).contains(&sealed(2_000)), "{}", sealed(2_000));
    // Others send it as text.
    let open = r#"{"type":"reasoning","content":[{"type":"reasoning_text","text":"Hm"}]}"#;
    assert!(input_of("openai", RESPONSES, &item("gpt-4o", open)) < 2_000);
}

#[test]
fn tools_that_the_client_runs_pass_and_others_do_not() {
    let body = |tool: &str| format!(r#"{{"model":"gpt-5","tools":[{tool}]}}"#);
    for tool in [
        r#"{"type":"function","name":"f","parameters":{}}"#,
        r#"{"type":"custom","name":"f","format":{"type":"grammar","syntax":"lark","definition":"x"}}"#,
        r#"{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}"#,
        r#"{"type":"local_shell"}"#,
        r#"{"type":"apply_patch"}"#,
        r#"{"type":"computer_use_preview","display_width":1,"display_height":1,"environment":"mac"}"#,
        r#"{"type":"shell","environment":{"type":"local"}}"#,
        r#"{"type":"tool_search","execution":"client","description":"x"}"#,
    ] {
        assert!(input_of("openai", RESPONSES, &body(tool)) >= 2_048, "{tool}");
    }
    for tool in [
        r#"{"type":"shell"}"#,
        r#"{"type":"shell","environment":{"type":"container_auto"}}"#,
        r#"{"type":"tool_search"}"#,
        r#"{"type":"tool_search","execution":"server"}"#,
        r#"{"type":"web_search_preview"}"#,
        r#"{"type":"code_interpreter"}"#,
        r#"{"type":"image_generation"}"#,
        r#"{"type":"namespace","tools":[{"type":"mcp"}]}"#,
        r#"{}"#,
    ] {
        let refused = refused("openai", RESPONSES, &body(tool));
        assert!(refused.starts_with("tools[0]"), "{tool}: {refused}");
    }
    // A list of one, without the list.
    let alone = r#"{"model":"gpt-5","tools":{"type":"web_search"}}"#;
    assert!(refused("openai", RESPONSES, alone).contains("tools"));
    assert!(refused("openai", CHAT, &chat(r#","tools":{"type":"web_search"}"#)).contains("tools"));
    // The description that the provider has of it is counted by no tokenizer.
    assert!(!passes("openai", RESPONSES, &body(r#"{"type":"apply_patch"}"#)).is_plain_text);
    assert!(passes("openai", RESPONSES, &body(r#"{"type":"function","name":"f"}"#)).is_plain_text);
    // A grammar is shown to the model.
    let grammar =
        format!(r#"{{"type":"custom","name":"f","format":{{"definition":"{}"}}}}"#, "x".repeat(9_000));
    assert!(input_of("openai", RESPONSES, &body(&grammar)) >= 9_000);
}

#[test]
fn rows_of_configuration_are_consulted() {
    let row = |what| Neutral { provider: "openai".to_owned(), what };
    let rows =
        [row(NeutralThing::Field("new_thing".to_owned())), row(NeutralThing::Tool("new_tool".to_owned()))];
    let mut provider = REGISTRY.get("openai").expect("built in").clone();
    provider.neutral = rows.to_vec();
    for (path, body, expected) in [
        (CHAT, chat(r#","new_thing":1,"tools":[{"type":"new_tool","x":1}]"#), true),
        (CHAT, chat(r#","newer_thing":1"#), false),
        (RESPONSES, r#"{"model":"gpt-5","new_thing":1,"tools":[{"type":"new_tool"}]}"#.to_owned(), true),
        ("/v1/completions", r#"{"model":"gpt-3.5-turbo-instruct","new_thing":1}"#.to_owned(), true),
        ("/v1/embeddings", r#"{"model":"text-embedding-3-small","new_thing":1}"#.to_owned(), true),
        ("/v1/audio/speech", r#"{"model":"tts-1","new_thing":1}"#.to_owned(), true),
        ("/v1/images/generations", r#"{"model":"gpt-image-1","new_thing":1}"#.to_owned(), true),
    ] {
        let path =
            provider.final_path(&RawPath::parse(path.as_bytes()).expect("a path")).expect("a good path");
        let question = Question {
            provider: &provider,
            method: &Method::POST,
            path: &path,
            query: None,
            headers: &Fields::default(),
            body: body.as_bytes(),
        };
        assert_eq!(facts(&question, &PRICES).is_ok(), expected, "{body}");
    }
}

/// A form with fields, and the header that goes with it.
fn form(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (disposition, value) in fields {
        body += &format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n");
    }
    body + "--b--\r\n"
}

const FILE: (&str, &str) = (r#"name="file"; filename="a.wav""#, "RIFF\r\n--not the boundary");

fn hear(path: &str, body: &str) -> Result<RequestFacts, Refused> {
    ask_with("openai", path, &[("content-type", "multipart/form-data; boundary=b")], body)
}

#[test]
fn speech_that_is_billed_by_tokens_is_bounded_by_what_the_model_takes_in() {
    let fields = [FILE, (r#"name="model""#, "gpt-4o-transcribe"), (r#"name="prompt""#, "Hi")];
    let facts = hear(TRANSCRIPTIONS, &form(&fields)).expect("bounded");
    assert_eq!(facts.model.as_deref(), Some("gpt-4o-transcribe"));
    assert_eq!(facts.input.count(Unit::InputAudioTokens), 16_800);
    assert_eq!(facts.input.tokens(), 16_800 + 2_100);
    assert_eq!(in_money("openai", &facts), Ok(()));
    assert_eq!(facts.rewrite(form(&fields).as_bytes(), None), form(&fields).into_bytes());
    // Cut into parts, each is a run of its own.
    let cut = [FILE, (r#"name="model""#, "gpt-4o-transcribe"), (r#"name="chunking_strategy""#, "auto")];
    match hear(TRANSCRIPTIONS, &form(&cut)) {
        Err(Refused::Unbounded { what, .. }) => assert_eq!(what, "chunking_strategy"),
        other => panic!("{other:?}"),
    }
    let unknown = [FILE, (r#"name="model""#, "gpt-9-transcribe")];
    match hear(TRANSCRIPTIONS, &form(&unknown)) {
        Err(Refused::Unbounded { what, .. }) => assert!(what.contains("gpt-9-transcribe")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn speech_that_is_billed_by_its_length_has_no_bound_in_money() {
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    for (provider, path, model) in [
        ("openai", TRANSCRIPTIONS, "whisper-1"),
        ("openai", "/v1/audio/translations", "whisper-1"),
        ("groq", "/openai/v1/audio/transcriptions", "whisper-large-v3"),
        ("groq", "/openai/v1/audio/translations", "whisper-large-v3"),
    ] {
        let body = form(&[FILE, (r#"name="model""#, model)]);
        let facts = ask_with(provider, path, &headers, &body).expect("no tokens");
        assert_eq!(facts.input.tokens(), 0);
        assert_eq!(in_money(provider, &facts), Err("file".to_owned()), "{provider}");
        let tokens = demand(&facts, None, false, AT, true).expect("a bound in tokens");
        assert_eq!(tokens.tokens_fixed, 0);
    }
}

#[test]
fn forms_that_can_be_read_in_two_ways_are_refused() {
    let good = form(&[FILE, (r#"name="model""#, "gpt-4o-transcribe")]);
    assert!(hear(TRANSCRIPTIONS, &good).is_ok());
    assert!(hear(TRANSCRIPTIONS, good.strip_suffix("\r\n").expect("an end")).is_ok());
    let model = |disposition: &str, value: &str| form(&[FILE, (disposition, value)]);
    let two = [FILE, (r#"name="model""#, "gpt-4o-transcribe"), (r#"name="model""#, "whisper-1")];
    for body in [
        form(&two),
        // In front of it, behind it, without its end.
        format!("preamble\r\n{good}"),
        format!("\r\n{good}"),
        format!("{good}epilogue"),
        good.replace("--b--\r\n", ""),
        good.replace("--b--\r\n", "--b\r\n"),
        // The boundary within a part, as lenient readers take it, and with something behind it.
        model(r#"name="model""#, "gpt-4o-transcribe\n--b\r\nx"),
        good.replace("--b\r\n", "--b \r\n"),
        good.replace("--b\r\n", "--bb\r\n"),
        good.replace("\r\n", "\n"),
        // Names.
        model("filename=\"model\"", "gpt-4o-transcribe"),
        model("name=\"\"", "x"),
        model(r#"name="model"; name="prompt""#, "gpt-4o-transcribe"),
        model(r#"name="mo\"del""#, "gpt-4o-transcribe"),
        model("name*=UTF-8''model", "gpt-4o-transcribe"),
        model(r#"name="model"x"#, "gpt-4o-transcribe"),
        model("name=\"model\"\r\nContent-Disposition: form-data; name=\"prompt\"", "gpt-4o-transcribe"),
        // Headers that say that it is something else.
        model("name=\"model\"\r\nContent-Transfer-Encoding: base64", "Z3B0LTRvLXRyYW5zY3JpYmU="),
        model("name=\"model\"\r\n folded: x", "gpt-4o-transcribe"),
        // A file where a text belongs, and the reverse.
        model(r#"name="model"; filename="x""#, "gpt-4o-transcribe"),
        form(&[(r#"name="file""#, "x"), (r#"name="model""#, "gpt-4o-transcribe")]),
        form(&[FILE]),
        String::new(),
    ] {
        let answer = hear(TRANSCRIPTIONS, &body);
        assert!(matches!(answer, Err(Refused::Malformed(_))), "{body:?}: {answer:?}");
    }
    for kind in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/form-data; boundary=\"b",
        "multipart/mixed; boundary=b",
        "application/json",
    ] {
        let answer = ask_with("openai", TRANSCRIPTIONS, &[("content-type", kind)], &good);
        assert!(matches!(answer, Err(Refused::Malformed(_))), "{kind}: {answer:?}");
    }
    let two = [("content-type", "multipart/form-data; boundary=b"), ("content-type", "application/json")];
    assert!(ask_with("openai", TRANSCRIPTIONS, &two, &good).is_err());
    assert!(ask_with("openai", TRANSCRIPTIONS, &[], &good).is_err());
    let unknown = form(&[FILE, (r#"name="model""#, "gpt-4o-transcribe"), (r#"name="new""#, "x")]);
    assert!(matches!(hear(TRANSCRIPTIONS, &unknown), Err(Refused::Unbounded { what, .. }) if what == "new"));
}

proptest! {
    /// No form makes the reading panic, and a name is never read where another one stands.
    #[test]
    fn any_form_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        pieces in proptest::collection::vec(0..12_usize, 0..14),
    ) {
        const PIECES: [&str; 12] = [
            "--b", "--b--", "\r\n", "\n", "\r\n\r\n", "\r\n--b\r\n", ": ", ";",
            "Content-Disposition: form-data; name=\"model\"", "name=\"file\"; filename=\"a\"", "\"", "whisper-1",
        ];
        let mut body: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        body += &String::from_utf8_lossy(&bytes);
        let _ = hear(TRANSCRIPTIONS, &body);
        let whole = form(&[FILE, (r#"name="prompt""#, &body), (r#"name="model""#, "gpt-4o-transcribe")]);
        if let Ok(facts) = hear(TRANSCRIPTIONS, &whole) {
            prop_assert_eq!(facts.model.as_deref(), Some("gpt-4o-transcribe"));
        }
    }
}

#[test]
fn images_are_bounded_by_size_and_family() {
    let path = "/v1/images/generations";
    let tokens = |more: &str| {
        let facts = passes("openai", path, &format!(r#"{{"prompt":"x",{more}}}"#));
        facts.input.count(Unit::OutputImageTokens)
    };
    assert_eq!(tokens(r#""model":"gpt-image-1-mini""#), 12_480);
    // The provider's calculator says 7,024, 5,488 and 12,329, and 23,718 for the largest square.
    assert!(tokens(r#""model":"gpt-image-2","size":"1024x1024""#) >= 2 * 7_024);
    assert!(tokens(r#""model":"gpt-image-2","size":"1536x1024""#) >= 2 * 5_488);
    assert!(tokens(r#""model":"gpt-image-2","size":"3584x2048","quality":"high""#) >= 2 * 12_329);
    assert!(tokens(r#""model":"gpt-image-2","size":"auto""#) >= 2 * 23_718);
    assert!(tokens(r#""model":"gpt-image-2","n":3,"partial_images":2"#) >= 3 * (2 * 23_718 + 200));
    for (more, what) in [
        (r#""model":"gpt-image-2","quality":"max""#, "model"),
        (r#""model":"gpt-image-3""#, "model"),
        (r#""model":"dall-e-3","quality":"hd""#, "quality"),
        (r#""model":"dall-e-3","size":"1792x1024""#, "size"),
        (r#""model":"gpt-image-1","image":"x""#, "image"),
        (r#""model":"gpt-image-1","n":"2""#, "\"n\""),
    ] {
        let refused = refused("openai", path, &format!(r#"{{"prompt":"x",{more}}}"#));
        assert!(refused.starts_with(what), "{more}: {refused}");
    }
}

#[test]
fn images_that_are_changed_count_as_input() {
    let path = "/v1/images/edits";
    let body = r#"{"model":"gpt-image-1","prompt":"x","images":[{"file_id":"a"},{"file_id":"b"}],"mask":{}}"#;
    assert_eq!(passes("openai", path, body).input.count(Unit::InputImageTokens), 3 * 16_384);
    let image = (r#"name="image[]"; filename="a.png""#, "PNG");
    let fields = [image, image, (r#"name="model""#, "gpt-image-1"), (r#"name="n""#, "2")];
    let facts = hear(path, &form(&fields)).expect("bounded");
    assert_eq!(facts.input.count(Unit::InputImageTokens), 2 * 16_384);
    assert_eq!(facts.input.count(Unit::OutputImageTokens), 2 * 12_480);
    assert_eq!(in_money("openai", &facts), Ok(()));
    let wrong = [image, (r#"name="model""#, "gpt-image-1"), (r#"name="n""#, "2.0")];
    assert!(hear(path, &form(&wrong)).is_err());
    let wrong = [(r#"name="image""#, "https://x"), (r#"name="model""#, "gpt-image-1")];
    assert!(hear(path, &form(&wrong)).is_err());
}

/// xAI documents of the newer name alone that it counts reasoning.
#[test]
fn the_cap_of_xai_is_the_one_that_counts_reasoning() {
    for name in ["max_tokens", r"max\u005ftokens"] {
        let body = format!(r#"{{"model":"grok-4","messages":[], "{name}" : 77}}"#);
        let facts = passes("xai", CHAT, &body);
        let output = facts.output.as_ref().expect("an output");
        assert_eq!((output.parameter, output.requested), ("max_completion_tokens", Some(77)));
        let after = String::from_utf8(facts.rewrite(body.as_bytes(), Some(33))).expect("text");
        assert_eq!(after, r#"{"model":"grok-4","messages":[], "max_completion_tokens" : 33}"#);
    }
    assert!(refused("xai", CHAT, r#"{"model":"grok-4.20-multi-agent","messages":[]}"#).starts_with("model"));
    let search =
        |mode: &str| format!(r#"{{"model":"grok-4","messages":[],"search_parameters":{{"mode":"{mode}"}}}}"#);
    passes("xai", CHAT, &search("off"));
    assert_eq!(refused("xai", CHAT, &search("auto")), "search_parameters");
}

/// Each provider gets the name of the cap that it documents.
#[test]
fn the_other_name_of_the_cap_is_renamed() {
    for (provider, path, given, expected) in [
        ("mistral", CHAT, "max_completion_tokens", "max_tokens"),
        ("together", CHAT, "max_completion_tokens", "max_tokens"),
        ("deepseek", CHAT, "max_completion_tokens", "max_tokens"),
        ("perplexity", "/chat/completions", "max_completion_tokens", "max_tokens"),
        ("cerebras", CHAT, "max_tokens", "max_completion_tokens"),
        ("groq", "/openai/v1/chat/completions", "max_tokens", "max_tokens"),
        ("openai", CHAT, "max_tokens", "max_tokens"),
        ("fireworks", "/inference/v1/chat/completions", "max_completion_tokens", "max_completion_tokens"),
    ] {
        let body = format!(r#"{{"{given}":77,"model":"sonar","messages":[]}}"#);
        let after = passes(provider, path, &body).rewrite(body.as_bytes(), Some(33));
        let after = String::from_utf8(after).expect("text");
        assert_eq!(after, format!(r#"{{"{expected}":33,"model":"sonar","messages":[]}}"#), "{provider}");
    }
    let both = r#"{"max_completion_tokens":7,"max_tokens":7,"model":"grok-4","messages":[]}"#;
    assert!(refused("xai", CHAT, both).contains("max_tokens"));
}

/// It may choose among providers of different prices.
#[test]
fn openrouter_gets_the_known_price_as_its_highest() {
    let path = "/api/v1/chat/completions";
    let known = r#""max_price":{"prompt":0.15,"completion":0.6}"#;
    for (more, expected) in [
        (String::new(), format!(r#","provider":{{{known}}}"#)),
        (r#","provider":null"#.to_owned(), format!(r#","provider":{{{known}}}"#)),
        (r#","provider":{}"#.to_owned(), format!(r#","provider":{{{known}}}"#)),
        (
            r#","provider":{"order":["azure"],"sort":"throughput"}"#.to_owned(),
            format!(r#","provider":{{"order":["azure"],"sort":"throughput",{known}}}"#),
        ),
        (r#","provider":{"max_price":{}}"#.to_owned(), format!(r#","provider":{{{known}}}"#)),
        (
            r#","provider":{"max_price":{"prompt":0.1,"completion":null}}"#.to_owned(),
            r#","provider":{"max_price":{"prompt":0.1,"completion":0.6}}"#.to_owned(),
        ),
        (
            r#","provider":{"max_price":{"prompt":"0.15"}}"#.to_owned(),
            r#","provider":{"max_price":{"prompt":"0.15","completion":0.6}}"#.to_owned(),
        ),
    ] {
        let body = |more: &str| format!(r#"{{"model":"openai/gpt-4o-mini","messages":[]{more}}}"#);
        let facts = passes("openrouter", path, &body(&more));
        let after = String::from_utf8(facts.rewrite(body(&more).as_bytes(), None)).expect("text");
        assert_eq!(after, body(&expected), "{more}");
        assert_eq!(in_money("openrouter", &facts), Ok(()), "{more}");
    }
    let priced = |prompt: &str| {
        let provider = format!(r#"{{"max_price":{{"prompt":{prompt},"completion":0.1}}}}"#);
        let body = format!(r#"{{"model":"openai/gpt-4o-mini","messages":[],"provider":{provider}}}"#);
        ask("openrouter", path, &body)
    };
    for prompt in ["0.16", "0.1500001", "\"1\"", "18446744073709"] {
        let facts = priced(prompt).expect("bounded in tokens");
        let refused = in_money("openrouter", &facts);
        assert_eq!(refused, Err("provider.max_price.prompt".to_owned()), "{prompt}");
    }
    for prompt in ["-1", "1e9", "\"\"", "[]", "18446744073709551616"] {
        assert!(matches!(priced(prompt), Err(Refused::Malformed(_))), "{prompt}");
    }
    // Nothing is known of its price.
    let body = r#"{"model":"nobody/knows","messages":[]}"#;
    assert!(passes("openrouter", path, body).spend_edits.is_empty());
}

#[test]
fn perplexity_is_bounded_where_it_searches_once() {
    let path = "/chat/completions";
    let body = |model: &str, more: &str| {
        let messages = r#""messages":[{"role":"user","content":"Hi"}]"#;
        format!(r#"{{"model":"{model}",{messages}{more}}}"#)
    };
    for (model, nanos) in [("sonar", 12_000_000), ("sonar-pro", 14_000_000)] {
        let more = r#","max_tokens":10,"web_search_options":{"search_context_size":"high"}"#;
        let facts = passes("perplexity", path, &body(model, more));
        let price = PRICES.find("perplexity", model);
        let units = demand(&facts, price, true, AT, true).expect("a demand").units(10).expect("countable");
        // The fee of the dearest size of context, and the tokens.
        assert!(units.spend_nanos > nanos, "{model}: {units:?}");
    }
    for (model, more, what) in [
        ("sonar-deep-research", "", "model"),
        ("sonar-reasoning-pro", "", "model"),
        ("sonar-pro", r#","web_search_options":{"search_type":"pro"}"#, "web_search_options"),
        ("sonar-pro", r#","web_search_options":{"new":1}"#, "web_search_options"),
        ("sonar", r#","return_related_questions":true"#, "return_related_questions"),
    ] {
        let refused = refused("perplexity", path, &body(model, more));
        assert!(refused.starts_with(what), "{model} {more}: {refused}");
    }
}

#[test]
fn what_compatible_providers_run_on_their_own_is_refused() {
    let openrouter = "/api/v1/chat/completions";
    let groq = "/openai/v1/chat/completions";
    let body = |model: &str, more: &str| format!(r#"{{"model":"{model}","messages":[]{more}}}"#);
    for (provider, path, model, more, what) in [
        ("openrouter", openrouter, "openrouter/auto", "", "model"),
        ("openrouter", openrouter, "@preset/mine", "", "model"),
        ("openrouter", openrouter, "openai/gpt-4o@preset/mine", "", "model"),
        ("openrouter", openrouter, "OpenAI/GPT-4o:Online", "", "model"),
        ("openrouter", openrouter, "perplexity/sonar-pro", "", "model"),
        ("openrouter", openrouter, "openai/o4-mini-deep-research", "", "model"),
        ("openrouter", openrouter, "openai/gpt-4o", r#","plugins":[{"id":"web"}]"#, "plugins"),
        ("openrouter", openrouter, "openai/gpt-4o", r#","plugins":[{}]"#, "plugins"),
        ("openrouter", openrouter, "openai/gpt-4o", r#","models":["a"]"#, "models"),
        ("groq", groq, "groq/compound-mini", "", "model"),
        ("groq", groq, "llama-3.1-8b-instant", r#","compound_custom":{}"#, "compound_custom"),
        ("groq", groq, "openai/gpt-oss-20b", r#","tools":[{"type":"browser_search"}]"#, "tools[0].type"),
        ("azure-openai", "/openai/v1/chat/completions", "model-router", "", "model"),
        ("mistral", CHAT, "mistral-large-latest", r#","agent_id":"a""#, "agent_id"),
        ("openai", CHAT, "gpt-4o", r#","prediction":{"type":"content","content":"x"}"#, "prediction"),
    ] {
        let refused = refused(provider, path, &body(model, more));
        assert!(refused.starts_with(what), "{provider} {model} {more}: {refused}");
    }
    passes("openrouter", openrouter, &body("openai/gpt-4o", r#","plugins":[{"id":"response-healing"}]"#));
    // Read by OCR at a price per page.
    let file = chat_part("openai/gpt-4o", r#"{"type":"file","file":{"filename":"a.pdf","file_data":"x"}}"#);
    assert!(refused("openrouter", openrouter, &file).starts_with("messages[0].content[0].type"));
    // Texts to cite.
    let documents = format!(r#","documents":[{{"text":"{}"}}]"#, "x".repeat(5_000));
    assert!(input_of("groq", groq, &body("llama-3.1-8b-instant", &documents)) >= 10_000);
    assert_eq!(refused("openai", CHAT, &body("gpt-4o", &documents)), "documents");
}

#[test]
fn completions_without_a_cap_keep_the_default_of_their_provider() {
    let facts = passes("openai", "/v1/completions", r#"{"model":"gpt-3.5-turbo-instruct","prompt":"x"}"#);
    assert_eq!(facts.output.expect("an output").requested, Some(16));
    let body = r#"{"model":"codestral-latest","prompt":"a","suffix":"b","random_seed":1}"#;
    assert_eq!(passes("mistral", "/v1/fim/completions", body).output.expect("an output").outputs, 1);
    let refused = refused("mistral", "/v1/agents/completions", r#"{"agent_id":"a","messages":[]}"#);
    assert_eq!(refused, "POST /v1/agents/completions");
}

#[test]
fn pages_that_are_read_are_bounded_by_their_list() {
    let ask_for = |more: &str| {
        let document = r#"{"type":"document_url","document_url":"https://x"}"#;
        passes(
            "mistral",
            "/v1/ocr",
            &format!(r#"{{"model":"mistral-ocr-latest","document":{document}{more}}}"#),
        )
    };
    let facts = ask_for(r#","pages":[0,7],"document_annotation_format":{"type":"json_schema"}"#);
    assert_eq!(facts.input.count(Unit::InputDocumentPages), 2);
    assert_eq!(facts.input.count(Unit::InputAnnotatedDocumentPages), 2);
    assert_eq!(in_money("mistral", &facts), Ok(()));
    for pages in ["", r#","pages":"0-1000""#, r#","pages":["0-1000"]"#, r#","pages":[[0]]"#] {
        assert_eq!(in_money("mistral", &ask_for(pages)), Err("pages".to_owned()), "{pages}");
    }
    let empty = r#"{"model":"mistral-ocr-latest","document":{"type":"document_url"},"pages":[]}"#;
    assert!(refused("mistral", "/v1/ocr", empty).contains("pages"));
    let image = r#"{"model":"mistral-ocr-latest","document":{"type":"image_url","image_url":"https://x"}}"#;
    assert_eq!(passes("mistral", "/v1/ocr", image).input.count(Unit::InputDocumentPages), 1);
}

/// A tier that is cheaper may be answered by the plain one; without a tier that of the project counts, which may be dearer.
#[test]
fn a_cheaper_tier_is_held_at_the_plain_price() {
    let nanos = |tier: &str| {
        let body = format!(r#"{{"model":"gpt-5","messages":[],"max_tokens":1000{tier}}}"#);
        let facts = passes("openai", CHAT, &body);
        let demand = demand(&facts, PRICES.find("openai", "gpt-5"), true, AT, true).expect("a demand");
        demand.units(1_000).expect("countable").spend_nanos
    };
    let (flex, plain, priority) = (
        nanos(r#","service_tier":"flex""#),
        nanos(r#","service_tier":"default""#),
        nanos(r#","service_tier":"priority""#),
    );
    assert_eq!(flex, plain);
    assert!(priority > plain);
    assert_eq!((nanos(""), nanos(r#","service_tier":"auto""#)), (priority, priority));
}

#[test]
fn images_in_their_original_size_are_held_at_more() {
    let image = |model: &str, detail: &str| {
        let part = format!(r#"{{"type":"image_url","image_url":{{"url":"data:","detail":"{detail}"}}}}"#);
        passes("openai", CHAT, &chat_part(model, &part)).input.count(Unit::InputImageTokens)
    };
    assert!(image("gpt-5.4", "original") >= 24_600);
    assert!(image("gpt-5.4", "auto") >= 24_600);
    assert!(image("gpt-5.4", "high") >= 6_150);
    assert!(image("gpt-5-mini", "auto") < 24_600);
    assert!(image("gpt-4o-mini", "low") >= 48_169);
    // Whatever model is behind the name of a deployment.
    let body = chat_part("mine", r#"{"type":"image_url","image_url":{"url":"data:"}}"#);
    let deployed = passes("azure-openai", "/openai/v1/chat/completions", &body);
    assert!(deployed.input.count(Unit::InputImageTokens) >= 48_169);
}

/// A method and a path, and whether the endpoint is free, metered or unknown.
#[test]
fn endpoints_are_free_metered_or_unknown_on_purpose() {
    for (method, provider, path, expected) in [
        (Method::GET, "openai", "/v1/responses/resp_1", Some(true)),
        (Method::DELETE, "openai", "/v1/responses/resp_1", Some(true)),
        (Method::POST, "openai", "/v1/responses/resp_1/cancel", Some(true)),
        (Method::POST, "openai", "/v1/responses/compact", Some(false)),
        (Method::POST, "openai", "/v1/chat/completions/c_1", Some(true)),
        (Method::POST, "openai", "/v1/conversations", Some(true)),
        (Method::POST, "openai", "/v1/uploads", Some(true)),
        (Method::GET, "openai", "/v1/batches/b_1", Some(true)),
        (Method::POST, "openai", "/v1/batches", None),
        (Method::GET, "openai", "/v1/vector_stores/v/files", Some(true)),
        (Method::POST, "openai", "/v1/vector_stores", None),
        (Method::POST, "openai", "/v1/vector_stores/v/search", None),
        (Method::POST, "openai", "/v1/containers", None),
        (Method::GET, "openai", "/v1/videos/v/content", Some(true)),
        (Method::POST, "openai", "/v1/videos", None),
        (Method::POST, "openai", "/v1/videos/v/remix", None),
        (Method::POST, "openai", "/v1/evals", None),
        (Method::POST, "openai", "/v1/images/variations", None),
        (Method::POST, "openai", "/v1/threads", None),
        (Method::POST, "openai", "/v1/realtime/calls", None),
        (Method::GET, "openrouter", "/api/v1/credits", Some(true)),
        (Method::POST, "openrouter", "/api/v1/credits", None),
        (Method::POST, "mistral", "/v1/ocr", Some(false)),
        (Method::POST, "xai", "/v1/images/generations", None),
        (Method::POST, "perplexity", "/v1/embeddings", Some(false)),
    ] {
        let known = REGISTRY.get(provider).expect("built in");
        let raw = RawPath::parse(path.as_bytes()).expect("a path");
        let final_path = known.final_path(&raw).expect("a good path");
        let row = crate::request::endpoint(known, &method, &final_path);
        assert_eq!(row.map(|row| row.is_free), expected, "{method} {provider} {path}");
    }
}
