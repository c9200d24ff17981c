//! JSON values as XML, by the house style of the papi samples (docs/dialects.md, "Answers").
//!
//! - an object becomes one child per key, an array repeated `<element>`, a scalar its text;
//! - null, an empty text and an empty array or object all become `<k></k>`, never `<k/>`;
//! - booleans are 1 and 0;
//! - a key that is not a name becomes `<element key="…">` (the vendor's behaviour is not public);
//! - no blank, line end or declaration is added, so that every text comes back as it went in.
//!
//! Characters that XML 1.0 cannot carry become U+FFFD, in texts and in keys.

use serde_json::Value;

/// The item of an array, and the stand-in for a key that is not a name.
const ITEM: &str = "element";

/// Writes `value` as one element named by `key`.
///
/// Depth is that of `value`: what this server builds, or JSON that it parsed, which `serde_json` limits to 128.
pub fn write_member(out: &mut String, key: &str, value: &Value) {
    if is_name(key) {
        write_element(out, key, None, value);
    } else {
        write_element(out, ITEM, Some(key), value);
    }
}

fn write_element(out: &mut String, name: &str, key: Option<&str>, value: &Value) {
    out.push('<');
    out.push_str(name);
    if let Some(key) = key {
        out.push_str(" key=\"");
        write_attribute(out, key);
        out.push('"');
    }
    out.push('>');
    write_content(out, value);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

fn write_content(out: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => out.push(if *truth { '1' } else { '0' }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => items.iter().for_each(|item| write_element(out, ITEM, None, item)),
        Value::Object(members) => members.iter().for_each(|(key, member)| write_member(out, key, member)),
    }
}

fn write_text(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            // Needed only after `]]`, but nobody has to look back this way.
            '>' => out.push_str("&gt;"),
            // A bare CR would reach the reader as LF (XML 1.0 section 2.11).
            '\r' => out.push_str("&#13;"),
            other => out.push(carried(other)),
        }
    }
}

/// In an attribute TAB, LF and CR would all reach the reader as blanks (XML 1.0 section 3.3.3).
fn write_attribute(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(carried(other)),
        }
    }
}

/// The character itself, or U+FFFD when XML 1.0 has no way to write it, not even as a reference (section 2.2, `Char`).
/// The surrogates that `Char` leaves out cannot occur in a Rust text; the noncharacters above U+FFFF are allowed.
const fn carried(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}' => character,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Whether `key` can name an element: a `Name` of XML 1.0 (fifth edition, section 2.3) with two cuts. A colon would be
/// read as the prefix of an undeclared namespace, and names that begin with "xml" are reserved.
fn is_name(key: &str) -> bool {
    let mut characters = key.chars();
    characters.next().is_some_and(is_name_start)
        && characters.all(|character| is_name_start(character) || is_name_continuation(character))
        && !key.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("xml"))
}

const fn is_name_start(character: char) -> bool {
    matches!(character,
        'A'..='Z' | '_' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
        | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

const fn is_name_continuation(character: char) -> bool {
    matches!(character, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use roxmltree::{Document, Node};
    use serde_json::{Map, json};

    fn written(value: &Value) -> String {
        let mut out = String::new();
        write_member(&mut out, "data", value);
        out
    }

    /// The replacement rule, said a second time and in the other direction: what cannot be written.
    fn after_replacement(text: &str) -> String {
        text.replace(|c| matches!(c, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F'), "\u{FFFD}")
            .replace(['\u{FFFE}', '\u{FFFF}'], "\u{FFFD}")
    }

    fn text_of(node: Node<'_, '_>) -> String {
        node.children().filter_map(|child| child.text()).collect()
    }

    /// Panics unless `node` shows `value`.
    fn compare(node: Node<'_, '_>, value: &Value) {
        let elements: Vec<_> = node.children().filter(Node::is_element).collect();
        match value {
            Value::Null => assert!(node.first_child().is_none()),
            Value::Bool(truth) => assert_eq!(text_of(node), if *truth { "1" } else { "0" }),
            Value::Number(number) => assert_eq!(text_of(node), number.to_string()),
            Value::String(text) => assert_eq!(text_of(node), after_replacement(text)),
            Value::Array(items) => {
                assert_eq!(node.children().count(), items.len(), "nothing beside the items");
                for (child, item) in elements.into_iter().zip(items) {
                    assert_eq!((child.tag_name().name(), child.attributes().count()), ("element", 0));
                    compare(child, item);
                }
            }
            Value::Object(members) => {
                assert_eq!(node.children().count(), members.len(), "nothing beside the members");
                for (child, (key, member)) in elements.into_iter().zip(members) {
                    let name = child.attribute("key").unwrap_or(child.tag_name().name());
                    assert_eq!(name, after_replacement(key));
                    compare(child, member);
                }
            }
        }
    }

    #[test]
    fn lists_objects_and_scalars_take_their_documented_form() {
        let value = json!({"a": [1, [true, false], null, {}], "b": {"c": "", "d": -1.5}, "e": []});
        assert_eq!(
            written(&value),
            "<data><a><element>1</element><element><element>1</element><element>0</element></element>\
             <element></element><element></element></a><b><c></c><d>-1.5</d></b><e></e></data>"
        );
    }

    #[test]
    fn a_key_that_is_not_a_name_becomes_an_attribute() {
        let attribute = |key: &str| written(&json!({ key: 1 }));
        assert_eq!(attribute("ok-1.x"), "<data><ok-1.x>1</ok-1.x></data>");
        assert_eq!(attribute("größe"), "<data><größe>1</größe></data>");
        assert_eq!(attribute("element"), "<data><element>1</element></data>");
        for key in ["", "0a", "-a", ".a", "a b", "a:b", "xml", "XmLns", "a/b", "a>b", "a\u{0}"] {
            assert!(attribute(key).starts_with("<data><element key=\""), "{key}");
        }
        assert_eq!(
            attribute("<&>\"'\t\n\r\u{0}\u{FFFF}"),
            "<data><element key=\"&lt;&amp;&gt;&quot;'&#9;&#10;&#13;\u{FFFD}\u{FFFD}\">1</element></data>"
        );
    }

    #[test]
    fn what_xml_cannot_carry_is_replaced_and_the_rest_is_kept() {
        let text = "\u{0}\u{8}\t\n\u{B}\u{C}\r\u{E}\u{1F} \u{7F}\u{85}\u{2028}\u{D7FF}\u{E000}\u{FFFD}\u{FFFE}\u{FFFF}\u{1FFFE}";
        let xml = written(&json!(text));
        let document = Document::parse(&xml).expect("well-formed");
        assert_eq!(
            document.root_element().text(),
            Some(
                "\u{FFFD}\u{FFFD}\t\n\u{FFFD}\u{FFFD}\r\u{FFFD}\u{FFFD} \u{7F}\u{85}\u{2028}\u{D7FF}\u{E000}\u{FFFD}\u{FFFD}\u{FFFD}\u{1FFFE}"
            )
        );
    }

    #[test]
    fn markup_in_a_text_stays_text() {
        for text in
            ["]]>", "<![CDATA[x]]>", "<!-- x -->", "<?xml?>", "&amp;&#13;&quot;", "\r\n\r", "  \t\n ", "'\""]
        {
            let value = json!([text, { text: text }]);
            let xml = written(&value);
            compare(Document::parse(&xml).expect("well-formed").root_element(), &value);
        }
    }

    /// Every character, in a text, in the middle of a key and as the first of one.
    #[test]
    fn every_character_of_unicode_comes_back() {
        for block in (0..=0x10_FFFF_u32).filter_map(char::from_u32).collect::<Vec<_>>().chunks(4096) {
            let text: String = block.iter().collect();
            let keys = |place: fn(char) -> String| -> Map<String, Value> {
                block.iter().map(|character| (place(*character), Value::Null)).collect()
            };
            let value = json!([text, keys(|c| format!("{c}a")), keys(|c| format!("a{c}"))]);
            let xml = written(&value);
            compare(Document::parse(&xml).expect("well-formed").root_element(), &value);
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-z_:][a-z0-9_.:-]{0,8}",
            "[\u{0}-\u{20}<>&\"'\\]\\[!xml#;:\u{7F}-\u{A0}\u{FFFD}-\u{FFFF}]{0,16}",
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::hash_map(any_text(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_value_comes_back_from_a_real_parser(value in any_value()) {
            let xml = written(&value);
            let document = Document::parse(&xml).expect("well-formed");
            compare(document.root_element(), &value);
        }
    }
}
