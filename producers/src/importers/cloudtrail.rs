//! AWS `CloudTrail` records.
//!
//! Reads become actions, everything else is taken for a change: a call that is not known to be harmless is better
//! shown as a change than missed.

use std::borrow::Cow;

use annals_schemas::ids::derived;
use annals_schemas::{
    ActionRecorded, Actor, ActorKind, ConfigurationChanged, Event, LoginFailed, LoginSucceeded, Meta,
    Personal, PersonalData, Severity,
};
use serde_json::Value;
use uuid::Uuid;

use super::fields::{self, Record, canonical_address, text, text_of, truth, within_limits};
use super::redact::{record_text, redact_text};
use super::{ImportContext, RecordError, time};

/// How the names of calls begin that change nothing, for records without `readOnly`.
const READ_PREFIXES: [&str; 7] = ["Describe", "Get", "List", "Head", "Lookup", "Search", "AssumeRole"];

/// Maps one record.
pub(super) fn to_event(record: Record, context: &ImportContext) -> Result<Event, RecordError> {
    let event_id = required(&record, "eventID")?;
    let call = Call { name: required(&record, "eventName")?, source: required(&record, "eventSource")? };
    let source = source_arn(&record);
    let identity = Identity::of(&record);
    let meta = Meta {
        event_id: derived("cloudtrail-event", &[context.customer.as_bytes(), event_id.as_bytes()]),
        customer: context.customer,
        occurred_at: occurred_at(&record)?,
        actor: identity.actor(context.customer, &source),
        source: fields::name(&source),
    };
    let address = text(&record, "sourceIPAddress").and_then(|address| canonical_address(&address));
    let personal = Personal {
        account: identity.account,
        qualified_account: identity.arn,
        address,
        user_agent: text(&record, "userAgent").map(|agent| redact_text(&agent).into_owned()),
        ..Personal::default()
    };
    if call.name == "ConsoleLogin" {
        return Ok(console_login(meta, personal, record));
    }
    let error_code = text(&record, "errorCode").map(Cow::into_owned);
    let refused = error_code.as_ref().map(|code| format!(" refused: {code}")).unwrap_or_default();
    let words = format!("{} on {}{refused}", call.name, call.source);
    let (entity_type, entity_id) = entity(&record, &call.source);
    let entity_type = Some(fields::name(&entity_type));
    let is_read = is_read(&record, &call.name);
    let action = fields::name(&call.action());
    let personal = finish(Personal { entity_id: Some(entity_id), text: Some(words), ..personal }, record);
    if is_read {
        let (category, severity) = ("cloud_read".to_owned(), Severity::Info);
        return Ok(
            ActionRecorded { meta, action, category, severity, entity_type, count: 1, personal }.into()
        );
    }
    let severity = if error_code.is_some() { Severity::Warning } else { Severity::Info };
    let (category, severity) = (Some("cloud_change".to_owned()), Some(severity));
    Ok(ConfigurationChanged { meta, action, category, severity, entity_type, personal }.into())
}

fn required(record: &Record, field: &'static str) -> Result<String, RecordError> {
    text(record, field).map(Cow::into_owned).ok_or(RecordError::Missing(field))
}

fn occurred_at(record: &Record) -> Result<chrono::DateTime<chrono::Utc>, RecordError> {
    ["eventTime", "@timestamp"]
        .into_iter()
        .find_map(|field| record.get(field).filter(|value| !value.is_null()).map(|value| (field, value)))
        .ok_or(RecordError::Missing("eventTime"))
        .and_then(|(field, value)| time::moment(field, value))
}

/// The trail's region and account as a name of the producer.
fn source_arn(record: &Record) -> String {
    let part = |field| text(record, field).unwrap_or_default();
    format!("arn:aws:cloudtrail:{}:{}", part("awsRegion"), part("recipientAccountId"))
}

fn finish(personal: Personal, record: Record) -> PersonalData {
    PersonalData::Personal(within_limits(Personal { record: record_text(record), ..personal }))
}

/// A sign-in to the console. What does not say `Success` is a failure: a success must not be invented.
fn console_login(meta: Meta, personal: Personal, record: Record) -> Event {
    let answer =
        record.get("responseElements").and_then(|elements| elements.get("ConsoleLogin")).and_then(text_of);
    if answer.is_some_and(|answer| answer.eq_ignore_ascii_case("success")) {
        return LoginSucceeded { meta, account_number: None, personal: finish(personal, record) }.into();
    }
    let reason = match text(&record, "errorMessage") {
        Some(message) => fields::name(&redact_text(&message)),
        None => "console login refused".to_owned(),
    };
    LoginFailed { meta, reason, attempts: 1, personal: finish(personal, record) }.into()
}

fn is_read(record: &Record, name: &str) -> bool {
    match record.get("readOnly").and_then(truth) {
        Some(is_read_only) => is_read_only,
        None => READ_PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
    }
}

/// Type and name of what the call was about: the first resource, else the service.
fn entity(record: &Record, service: &str) -> (String, String) {
    let first = record.get("resources").and_then(|resources| resources.get(0));
    let field =
        |name: &str| first.and_then(|resource| resource.get(name)).and_then(text_of).map(Cow::into_owned);
    match field("ARN").or_else(|| field("ARNPrefix")) {
        Some(id) => (field("type").unwrap_or_else(|| "resource".to_owned()), id),
        None => ("service".to_owned(), service.to_owned()),
    }
}

/// A call of a service.
struct Call {
    name: String,
    source: String,
}

impl Call {
    /// `DescribeInstances` of `ec2.amazonaws.com` as `EC2_DESCRIBE_INSTANCES`.
    fn action(&self) -> String {
        let service = self.source.split('.').next().unwrap_or_default();
        format!("{}_{}", plain(&service.to_uppercase()), plain(&with_borders(&self.name).to_uppercase()))
    }
}

/// Everything that is no ASCII letter or digit as `_`.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// Puts `_` between the words of `DescribeDBInstances`; a run of capitals is one word.
fn with_borders(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut words = String::with_capacity(name.len() + 8);
    for (index, letter) in letters.iter().enumerate() {
        let previous = index.checked_sub(1).map(|index| letters[index]);
        let begins_word = letter.is_ascii_uppercase()
            && previous.is_some_and(|previous| {
                let next_is_small = letters.get(index + 1).is_some_and(char::is_ascii_lowercase);
                previous.is_ascii_lowercase()
                    || previous.is_ascii_digit()
                    || (previous.is_ascii_uppercase() && next_is_small)
            });
        if begins_word {
            words.push('_');
        }
        words.push(*letter);
    }
    words
}

/// Who called.
#[derive(Debug, Default, PartialEq, Eq)]
struct Identity {
    /// What tells it from others: ARN, else principal, else invoking service, else type.
    key: Option<String>,
    arn: Option<String>,
    /// The user's name, else the tail of the ARN, else the key.
    account: Option<String>,
}

impl Identity {
    fn of(record: &Record) -> Self {
        let Some(Value::Object(identity)) = record.get("userIdentity") else { return Self::default() };
        let field = |name: &str| text(identity, name).map(Cow::into_owned);
        let arn = field("arn");
        let key = arn
            .clone()
            .or_else(|| field("principalId"))
            .or_else(|| field("invokedBy"))
            .or_else(|| field("type"));
        let tail = arn.as_deref().and_then(|arn| arn.rsplit(['/', ':']).find(|part| !part.is_empty()));
        let account = field("userName").or_else(|| tail.map(str::to_owned)).or_else(|| key.clone());
        Self { key, arn, account }
    }

    fn actor(&self, customer: Uuid, source: &str) -> Actor {
        let customer = customer.as_bytes().as_slice();
        match &self.key {
            Some(key) => {
                Actor::new(ActorKind::CloudIdentity, derived("cloud-identity", &[customer, key.as_bytes()]))
            }
            None => Actor::new(ActorKind::Unknown, derived("cloud-unknown", &[customer, source.as_bytes()])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_schemas::present;
    use serde_json::json;

    fn event(mut record: Value) -> Event {
        let defaults = json!({
            "eventID": "0000-1", "eventName": "RunInstances", "eventSource": "ec2.amazonaws.com",
            "eventTime": "2024-05-06T07:08:09Z", "awsRegion": "eu-central-1", "recipientAccountId": "000000000000",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::000000000000:user/team/ada", "userName": "ada"}
        });
        for (name, value) in defaults.as_object().unwrap() {
            record.as_object_mut().unwrap().entry(name.clone()).or_insert(value.clone());
        }
        let context = ImportContext { customer: Uuid::from_u128(7), time_zone: None };
        to_event(record.as_object().unwrap().clone(), &context).unwrap()
    }

    fn personal(event: &Event) -> &Personal {
        event.personal().unwrap()
    }

    #[test]
    fn names_of_calls_become_words() {
        for (source, name, action) in [
            ("ec2.amazonaws.com", "DescribeInstances", "EC2_DESCRIBE_INSTANCES"),
            ("rds.amazonaws.com", "DescribeDBInstances", "RDS_DESCRIBE_DB_INSTANCES"),
            (
                "compute-optimizer.amazonaws.com",
                "GetEnrollmentStatus",
                "COMPUTE_OPTIMIZER_GET_ENROLLMENT_STATUS",
            ),
            ("s3.amazonaws.com", "ListObjectsV2", "S3_LIST_OBJECTS_V2"),
            ("sts.amazonaws.com", "AssumeRoleWithSAML", "STS_ASSUME_ROLE_WITH_SAML"),
            ("lambda", "Update-Función 2", "LAMBDA_UPDATE_FUNCI_N_2"),
        ] {
            let call = Call { name: name.into(), source: source.into() };
            assert_eq!(call.action(), action);
        }
    }

    #[test]
    fn a_read_is_an_action_and_everything_else_a_change() {
        for (record, is_action) in [
            (json!({"readOnly": true}), true),
            (json!({"readOnly": "true"}), true),
            (json!({"readOnly": false, "eventName": "GetSomething"}), false),
            (json!({"eventName": "AssumeRoleWithSAML"}), true),
            (json!({"eventName": "HeadObject", "readOnly": null}), true),
            (json!({"eventName": "PutObject"}), false),
        ] {
            let event = event(record);
            let category = if is_action { "cloud_read" } else { "cloud_change" };
            assert_eq!(matches!(event, Event::ActionRecorded(_)), is_action);
            assert_eq!(present(&event).category, category);
        }
    }

    #[test]
    fn a_refused_change_is_a_warning_and_a_refused_read_is_not() {
        let refused = event(json!({"errorCode": "AccessDenied"}));
        assert_eq!(present(&refused).severity, Severity::Warning);
        assert_eq!(
            personal(&refused).text.as_deref(),
            Some("RunInstances on ec2.amazonaws.com refused: AccessDenied")
        );
        let read = event(json!({"errorCode": "AccessDenied", "readOnly": true}));
        assert_eq!(present(&read).severity, Severity::Info);
        assert_eq!(personal(&event(json!({}))).text.as_deref(), Some("RunInstances on ec2.amazonaws.com"));
    }

    #[test]
    fn the_entity_is_the_first_resource_or_the_service() {
        let entity = |resources: Value| {
            let shown = present(&event(json!({"resources": resources})));
            (shown.entity_type, shown.entity_id)
        };
        let both =
            json!([{"type": "AWS::S3::Object", "ARNPrefix": "arn:aws:s3:::a/"}, {"type": "x", "ARN": "y"}]);
        assert_eq!(entity(both), ("AWS::S3::Object".into(), "arn:aws:s3:::a/".into()));
        assert_eq!(entity(json!([{"ARN": "arn:x"}])), ("resource".into(), "arn:x".into()));
        for none in [json!(null), json!([]), json!([{"type": "AWS::S3::Object"}]), json!("x")] {
            assert_eq!(entity(none), ("service".into(), "ec2.amazonaws.com".into()));
        }
    }

    #[test]
    fn the_actor_is_the_most_exact_identity_that_is_there() {
        let who = |identity: Value| {
            let event = event(json!({"userIdentity": identity}));
            (
                event.meta().actor.clone(),
                personal(&event).account.clone(),
                personal(&event).qualified_account.clone(),
            )
        };
        let arn = "arn:aws:sts::000000000000:assumed-role/Reader/i-1";
        let (role, account, qualified) =
            who(json!({"type": "AssumedRole", "principalId": "P:i-1", "arn": arn}));
        assert_eq!(
            (role.kind, account.as_deref(), qualified.as_deref()),
            (ActorKind::CloudIdentity, Some("i-1"), Some(arn))
        );
        assert_eq!(who(json!({"arn": arn, "userName": "ada"})).0, role);
        assert_eq!(
            who(json!({"type": "Root", "arn": "arn:aws:iam::000000000000:root"})).1.as_deref(),
            Some("root")
        );
        let service = who(json!({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}));
        assert_eq!((service.1.as_deref(), service.2), (Some("ec2.amazonaws.com"), None));
        assert_ne!(service.0, who(json!({"type": "AWSService"})).0);
        assert_eq!(who(json!(null)).0.kind, ActorKind::Unknown);
    }

    #[test]
    fn a_console_login_succeeds_or_fails_by_its_answer() {
        let login = |answer: Value, message: Value| {
            event(json!({"eventName": "ConsoleLogin", "eventSource": "signin.amazonaws.com",
                "responseElements": {"ConsoleLogin": answer}, "errorMessage": message, "sourceIPAddress": "192.0.2.7"}))
        };
        let success = login(json!("Success"), json!(null));
        assert!(matches!(&success, Event::LoginSucceeded(event) if event.account_number.is_none()));
        assert_eq!(success.meta().actor.kind, ActorKind::CloudIdentity);
        assert_eq!(personal(&success).address.as_deref(), Some("192.0.2.7"));
        let failure = present(&login(json!("Failure"), json!("No username found in supplied account")));
        assert_eq!(failure.description, "ada failed to sign in: No username found in supplied account.");
        let failure = present(&login(json!(null), json!(null)));
        assert_eq!(failure.description, "ada failed to sign in: console login refused.");
    }

    #[test]
    fn a_service_name_is_no_address_and_times_have_a_second_field() {
        let event = event(json!({"sourceIPAddress": "ec2.amazonaws.com", "eventTime": null,
            "@timestamp": "2024-05-06T07:08:10.123456789Z"}));
        assert_eq!(personal(&event).address, None);
        assert_eq!(event.meta().occurred_at.timestamp_subsec_nanos(), 123_456_000);
        assert_eq!(event.meta().source, "arn:aws:cloudtrail:eu-central-1:000000000000");
    }

    #[test]
    fn what_every_event_needs_is_asked_for_by_name() {
        let context = ImportContext { customer: Uuid::nil(), time_zone: None };
        let mut record = json!({"eventID": 1, "eventName": "a", "eventSource": "b", "eventTime": "c"});
        for field in ["eventTime", "eventSource", "eventName", "eventID"] {
            record[field] = Value::Null;
            let error = to_event(record.as_object().unwrap().clone(), &context).unwrap_err();
            assert_eq!(error, RecordError::Missing(field));
        }
    }
}
