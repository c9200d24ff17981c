//! What the importer knows about Windows events, one row for each meaning.

use annals_schemas::Severity;

/// The type of event that a row gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Logon,
    LogonFailed,
    Logoff,
    Action,
    Change,
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    Fixed(Severity),
    /// INFO, or WARNING when `Status` is not 0x0.
    ByStatus,
}

/// What it happened to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entity {
    /// The host that wrote the record.
    Host,
    /// The entity type, and the fields that may name it; the first that is there does.
    Field(&'static str, &'static [&'static str]),
}

/// Where the record names who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActorFields {
    Subject,
    Target,
    /// As `Target`, but the SID stands in `TargetSid`.
    TicketTarget,
    /// As `Target`, but without a SID.
    TargetName,
    /// `AccountName` and `AccountDomain`.
    Session,
    /// `UserID`.
    User,
    /// The lines of `Message`.
    Message,
}

/// One meaning.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) numbers: &'static [u64],
    pub(super) shape: Shape,
    /// Name of the action; empty where the type of event fixes it, and where nothing is known.
    pub(super) name: &'static str,
    pub(super) category: &'static str,
    pub(super) grade: Grade,
    pub(super) entity: Entity,
    pub(super) actor: ActorFields,
}

const INFO: Grade = Grade::Fixed(Severity::Info);
const WARNING: Grade = Grade::Fixed(Severity::Warning);
const ERROR: Grade = Grade::Fixed(Severity::Error);

/// A renaming names the user by its new and its old name only.
const USER: Entity = Entity::Field("user", &["TargetUserName", "NewTargetUserName", "OldTargetUserName"]);
const GROUP: Entity = Entity::Field("group", &["TargetUserName"]);
const SERVICE: Entity = Entity::Field("service", &["ServiceName"]);
const TASK: Entity = Entity::Field("task", &["TaskName"]);

const fn host_row(numbers: &'static [u64], shape: Shape) -> Row {
    Row {
        numbers,
        shape,
        name: "",
        category: "authentication",
        grade: INFO,
        entity: Entity::Host,
        actor: ActorFields::Target,
    }
}

const fn action(
    numbers: &'static [u64],
    name: &'static str,
    category: &'static str,
    grade: Grade,
    entity: Entity,
    actor: ActorFields,
) -> Row {
    Row { numbers, shape: Shape::Action, name, category, grade, entity, actor }
}

const fn change(
    numbers: &'static [u64],
    name: &'static str,
    category: &'static str,
    grade: Grade,
    entity: Entity,
) -> Row {
    Row { numbers, shape: Shape::Change, name, category, grade, entity, actor: ActorFields::Subject }
}

const fn account(number: &'static [u64], name: &'static str, grade: Grade) -> Row {
    change(number, name, "account_management", grade, USER)
}

const fn group(numbers: &'static [u64], name: &'static str) -> Row {
    change(numbers, name, "account_management", WARNING, GROUP)
}

/// Everything that is known of the channel `security`.
const SECURITY: &[Row] = &[
    host_row(&[4624], Shape::Logon),
    host_row(&[4625], Shape::LogonFailed),
    host_row(&[4634, 4647], Shape::Logoff),
    action(&[4648], "EXPLICIT_CREDENTIALS_USED", "authentication", WARNING, USER, ActorFields::Subject),
    action(
        &[4672],
        "SPECIAL_PRIVILEGES_ASSIGNED",
        "privilege",
        INFO,
        Entity::Field("user", &["SubjectUserName"]),
        ActorFields::Subject,
    ),
    ticket(&[4768], "KERBEROS_TICKET_REQUESTED", USER, ActorFields::TicketTarget),
    ticket(&[4769], "KERBEROS_SERVICE_TICKET_REQUESTED", SERVICE, ActorFields::TargetName),
    ticket(&[4771], "KERBEROS_PREAUTHENTICATION_FAILED", USER, ActorFields::TicketTarget),
    ticket(&[4776], "CREDENTIALS_VALIDATED", USER, ActorFields::TargetName),
    change(&[4697], "SERVICE_INSTALLED", "configuration", WARNING, SERVICE),
    change(&[4698], "SCHEDULED_TASK_CREATED", "configuration", WARNING, TASK),
    change(&[4699], "SCHEDULED_TASK_DELETED", "configuration", WARNING, TASK),
    change(&[4702], "SCHEDULED_TASK_CHANGED", "configuration", WARNING, TASK),
    change(&[4719], "AUDIT_POLICY_CHANGED", "policy", WARNING, Entity::Field("policy", &["SubcategoryGuid"])),
    change(&[4739], "DOMAIN_POLICY_CHANGED", "policy", WARNING, Entity::Field("domain", &["DomainName"])),
    change(&[4907], "AUDIT_SETTINGS_CHANGED", "policy", WARNING, Entity::Field("object", &["ObjectName"])),
    account(&[4720], "USER_CREATED", WARNING),
    account(&[4722], "USER_ENABLED", INFO),
    account(&[4723], "USER_PASSWORD_CHANGED", INFO),
    account(&[4724], "USER_PASSWORD_RESET", WARNING),
    account(&[4725], "USER_DISABLED", INFO),
    account(&[4726], "USER_DELETED", WARNING),
    account(&[4738], "USER_CHANGED", INFO),
    account(&[4740], "USER_LOCKED_OUT", WARNING),
    account(&[4767], "USER_UNLOCKED", INFO),
    account(&[4781], "USER_RENAMED", INFO),
    group(&[4727, 4731, 4754], "GROUP_CREATED"),
    group(&[4728, 4732, 4756], "GROUP_MEMBER_ADDED"),
    group(&[4729, 4733, 4757], "GROUP_MEMBER_REMOVED"),
    group(&[4730, 4734, 4758], "GROUP_DELETED"),
    action(&[1102], "AUDIT_LOG_CLEARED", "audit", ERROR, Entity::Host, ActorFields::Message),
    session(&[4778], "REMOTE_SESSION_RECONNECTED", ActorFields::Session),
    session(&[4779], "REMOTE_SESSION_DISCONNECTED", ActorFields::Session),
    session(&[4800], "WORKSTATION_LOCKED", ActorFields::Target),
    session(&[4801], "WORKSTATION_UNLOCKED", ActorFields::Target),
];

const fn ticket(numbers: &'static [u64], name: &'static str, entity: Entity, actor: ActorFields) -> Row {
    action(numbers, name, "authentication", Grade::ByStatus, entity, actor)
}

const fn session(numbers: &'static [u64], name: &'static str, actor: ActorFields) -> Row {
    action(numbers, name, "session", INFO, Entity::Host, actor)
}

/// Everything that is known of the channel `system`.
const SYSTEM: &[Row] = &[Row {
    actor: ActorFields::User,
    ..change(&[7045], "SERVICE_INSTALLED", "configuration", WARNING, SERVICE)
}];

/// What becomes of a record that no row fits: nothing is dropped.
pub(super) static UNKNOWN_EVENT: Row = action(&[], "", "windows", INFO, Entity::Host, ActorFields::Subject);

/// The row of an event in a channel, whose name is in lower case.
pub(super) fn find(channel: &str, number: u64) -> Option<&'static Row> {
    let rows = match channel {
        "security" => SECURITY,
        "system" => SYSTEM,
        _ => return None,
    };
    rows.iter().find(|row| row.numbers.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The specification's table: events, name, category, and where the severity is the same for all, that.
    const SPECIFIED: &[(&[u64], &str, &str, Option<Severity>)] = &[
        (&[4648], "EXPLICIT_CREDENTIALS_USED", "authentication", Some(Severity::Warning)),
        (&[4672], "SPECIAL_PRIVILEGES_ASSIGNED", "privilege", Some(Severity::Info)),
        (&[4768], "KERBEROS_TICKET_REQUESTED", "authentication", None),
        (&[4769], "KERBEROS_SERVICE_TICKET_REQUESTED", "authentication", None),
        (&[4771], "KERBEROS_PREAUTHENTICATION_FAILED", "authentication", None),
        (&[4776], "CREDENTIALS_VALIDATED", "authentication", None),
        (&[4697], "SERVICE_INSTALLED", "configuration", Some(Severity::Warning)),
        (&[4698], "SCHEDULED_TASK_CREATED", "configuration", Some(Severity::Warning)),
        (&[4699], "SCHEDULED_TASK_DELETED", "configuration", Some(Severity::Warning)),
        (&[4702], "SCHEDULED_TASK_CHANGED", "configuration", Some(Severity::Warning)),
        (&[4719], "AUDIT_POLICY_CHANGED", "policy", Some(Severity::Warning)),
        (&[4739], "DOMAIN_POLICY_CHANGED", "policy", Some(Severity::Warning)),
        (&[4907], "AUDIT_SETTINGS_CHANGED", "policy", Some(Severity::Warning)),
        (&[4720], "USER_CREATED", "account_management", Some(Severity::Warning)),
        (&[4722], "USER_ENABLED", "account_management", Some(Severity::Info)),
        (&[4723], "USER_PASSWORD_CHANGED", "account_management", Some(Severity::Info)),
        (&[4724], "USER_PASSWORD_RESET", "account_management", Some(Severity::Warning)),
        (&[4725], "USER_DISABLED", "account_management", Some(Severity::Info)),
        (&[4726], "USER_DELETED", "account_management", Some(Severity::Warning)),
        (&[4738], "USER_CHANGED", "account_management", Some(Severity::Info)),
        (&[4740], "USER_LOCKED_OUT", "account_management", Some(Severity::Warning)),
        (&[4767], "USER_UNLOCKED", "account_management", Some(Severity::Info)),
        (&[4781], "USER_RENAMED", "account_management", Some(Severity::Info)),
        (&[4727, 4731, 4754], "GROUP_CREATED", "account_management", Some(Severity::Warning)),
        (&[4728, 4732, 4756], "GROUP_MEMBER_ADDED", "account_management", Some(Severity::Warning)),
        (&[4729, 4733, 4757], "GROUP_MEMBER_REMOVED", "account_management", Some(Severity::Warning)),
        (&[4730, 4734, 4758], "GROUP_DELETED", "account_management", Some(Severity::Warning)),
        (&[1102], "AUDIT_LOG_CLEARED", "audit", Some(Severity::Error)),
        (&[4778], "REMOTE_SESSION_RECONNECTED", "session", Some(Severity::Info)),
        (&[4779], "REMOTE_SESSION_DISCONNECTED", "session", Some(Severity::Info)),
        (&[4800], "WORKSTATION_LOCKED", "session", Some(Severity::Info)),
        (&[4801], "WORKSTATION_UNLOCKED", "session", Some(Severity::Info)),
    ];

    #[test]
    fn the_table_is_the_specified_one() {
        for (numbers, name, category, severity) in SPECIFIED {
            for number in *numbers {
                let row = find("security", *number).unwrap();
                assert_eq!((row.name, row.category), (*name, *category), "{number}");
                assert_eq!(row.grade, severity.map_or(Grade::ByStatus, Grade::Fixed), "{number}");
            }
        }
        let specified = SPECIFIED.iter().flat_map(|row| row.0).count() + [4624, 4625, 4634, 4647].len();
        assert_eq!(SECURITY.iter().flat_map(|row| row.numbers).count(), specified);
    }

    #[test]
    fn no_event_has_two_rows() {
        for rows in [SECURITY, SYSTEM] {
            let numbers: Vec<u64> = rows.iter().flat_map(|row| row.numbers).copied().collect();
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        }
    }

    #[test]
    fn rows_belong_to_their_channel() {
        assert!(find("security", 4624).is_some());
        assert_eq!(find("system", 7045).unwrap().name, "SERVICE_INSTALLED");
        assert!(find("security", 7045).is_none());
        assert!(find("system", 4624).is_none());
        assert!(find("", 4624).is_none());
    }
}
