//! Hostile texts go in by events and come out of both formats as they are.

use annals_access::Permission;
use roxmltree::{Document, Node};

use crate::engine::{Engine, suite};
use crate::events::Action;
use crate::http::Ask;
use crate::world::World;

suite!(
    json_keeps_every_text,
    xml_keeps_what_it_can_carry_and_stays_well_formed,
    every_text_can_be_asked_for,
    errors_that_repeat_a_text_are_well_formed_too,
);

const ADA: &str = "ada@acme.example";

/// Texts, and what XML shows of those that it cannot carry.
const TEXTS: &[(&str, &str)] = &[
    ("\"'<&>", "\"'<&>"),
    ("]]>", "]]>"),
    ("<![CDATA[x]]><!-- <?pi?> &amp;&#13;", "<![CDATA[x]]><!-- <?pi?> &amp;&#13;"),
    ("a\r\nb\rc\nd\te", "a\r\nb\rc\nd\te"),
    ("\u{1}\u{8}\u{b}\u{1f}x", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}x"),
    ("\u{202e}txet\u{200f}\u{feff}", "\u{202e}txet\u{200f}\u{feff}"),
    ("😀👩‍🚀🇺🇳", "😀👩‍🚀🇺🇳"),
    ("\u{fffe}\u{ffff}", "\u{FFFD}\u{FFFD}"),
    ("</element></data></result>", "</element></data></result>"),
    ("  both  ends  ", "  both  ends  "),
    ("%3Cscript%3E${jndi}\\u0000", "%3Cscript%3E${jndi}\\u0000"),
];

async fn world(engine: Engine) -> (World, String) {
    let world = World::start(engine).await;
    let acme = world.customer("acme<&>\"]]>").await;
    world.account(ADA, &acme, &[Permission::ManageUsers]).await;
    let events: Vec<_> = (1..)
        .zip(TEXTS)
        .map(|(id, (text, _))| {
            let action = Action::new(id, acme.id, "2020-05-01 10:00:00");
            Action { account: text, name: text, category: text, entity: (text, text), ..action }.event()
        })
        .collect();
    world.publish(&events).await;
    let cookie = world.cookie(ADA).await;
    (world, cookie)
}

fn member<'a>(element: Node<'a, 'a>, name: &str) -> &'a str {
    element.children().find(|node| node.has_tag_name(name)).unwrap().text().unwrap_or_default()
}

async fn json_keeps_every_text(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let events = world.events(&cookie, &[("orderby", "audit_event_id")]).await;
    assert_eq!(events.len(), TEXTS.len());
    for (event, (text, _)) in events.iter().zip(TEXTS) {
        for field in ["account", "event_name", "category", "entity_type", "portal_entity_id"] {
            assert_eq!(event[field], *text, "{field}");
        }
        assert_eq!(event["customer"], "acme<&>\"]]>");
    }
}

async fn xml_keeps_what_it_can_carry_and_stays_well_formed(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let reply =
        world.ask(&Ask::get("/papi/auditlog/get_events.xml?orderby=audit_event_id").cookie(&cookie)).await;
    let document = Document::parse(reply.text()).unwrap();
    let root = document.root_element();
    assert!(root.has_tag_name("result"));
    assert_eq!(member(root, "success"), "1");
    let data = root.children().find(|node| node.has_tag_name("data")).unwrap();
    let elements: Vec<_> = data.children().collect();
    assert_eq!(elements.len(), TEXTS.len());
    for (element, (_, shown)) in elements.into_iter().zip(TEXTS) {
        assert!(element.has_tag_name("element"));
        for field in ["account", "event_name", "audit_action_type", "category", "entity_id"] {
            assert_eq!(member(element, field), *shown, "{field}");
        }
    }
}

async fn every_text_can_be_asked_for(engine: Engine) {
    let (world, cookie) = world(engine).await;
    for (id, (text, _)) in (1..).zip(TEXTS).filter(|(_, (text, _))| text.trim() == *text) {
        for name in ["accounts", "action_types", "entity_types", "portal_entity_ids"] {
            assert_eq!(world.ids(&cookie, &[(name, text)]).await, [id], "{name}={text:?}");
        }
    }
}

async fn errors_that_repeat_a_text_are_well_formed_too(engine: Engine) {
    let (world, cookie) = world(engine).await;
    for (text, _) in TEXTS {
        let query = crate::http::form(&[("timezone", text)]);
        let reply =
            world.ask(&Ask::get(&format!("/papi/auditlog/get_events.xml?{query}")).cookie(&cookie)).await;
        let document = Document::parse(reply.text()).unwrap();
        assert_eq!(member(document.root_element(), "error_code"), "3005", "{text:?}");
    }
}
