//! `annals credential`.

use std::process::ExitCode;
use std::time::Duration;

use annals_access::{Author, CredentialKind, CredentialSummary, IssuedCredential};
use anyhow::Context;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::cli::CredentialCommand;
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// The longest life that a length of time gives a credential: a hundred years. Without one it lives for ever.
const MAX_LIFE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Runs the command.
pub async fn run(config: &Config, command: CredentialCommand) -> anyhow::Result<ExitCode> {
    let author = Author::command_line();
    match command {
        CredentialCommand::Add { email, name, kind, expires, json } => {
            let kind: CredentialKind = kind.parse()?;
            let expires_at = expires.map(|text| parse_expiry(&text, Utc::now())).transpose()?;
            let installation = Installation::open(config).await?;
            let issued = installation.access.add_credential(&email, kind, &name, expires_at, &author).await?;
            hand_out(&issued, json)?;
            installation.finish().await?;
        }
        CredentialCommand::List { account, json } => {
            let installation = Installation::read(config).await?;
            let credentials = installation.access.credentials(account.as_deref()).await?;
            installation.close().await;
            list(&credentials, json)?;
        }
        CredentialCommand::Revoke { email, name } => {
            let installation = Installation::open(config).await?;
            installation.access.revoke_credential(&email, &name, &author).await?;
            installation.finish().await?;
            output::line(format!("revoked credential `{}` of {email}", name.escape_debug()))?;
        }
        CredentialCommand::Rotate { email, name, json } => {
            let installation = Installation::open(config).await?;
            let issued = installation.access.rotate_credential(&email, &name, &author).await?;
            hand_out(&issued, json)?;
            installation.finish().await?;
        }
        CredentialCommand::Reseal { old_key_files } => {
            let installation = Installation::open(config).await?;
            let vault = installation.vault.clone().with_old_files(old_key_files);
            let access = installation.access.clone().with_vault(vault);
            let summary = access.reseal(&author).await?;
            installation.finish().await?;
            output::line(format!(
                "sealed {} keys anew, {} were already",
                summary.resealed, summary.unchanged
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a new secret, before anything else can fail: nobody can be told it again.
fn hand_out(issued: &IssuedCredential, json: bool) -> anyhow::Result<()> {
    let secret = issued.secret.expose();
    if json {
        let object = match &issued.access_id {
            Some(access_id) => {
                serde_json::json!({"id": issued.id, "access_id": access_id, "access_key": secret})
            }
            None => serde_json::json!({"id": issued.id, "token": secret}),
        };
        return Ok(output::line(serde_json::to_string_pretty(&object)?)?);
    }
    match &issued.access_id {
        Some(access_id) => {
            output::line(format!("access id: {access_id}"))?;
            output::line(format!("access key: {secret}"))?;
        }
        None => output::line(format!("token: {secret}"))?,
    }
    Ok(())
}

fn list(credentials: &[CredentialSummary], json: bool) -> anyhow::Result<()> {
    if json {
        let list: Vec<_> = credentials
            .iter()
            .map(|c| {
                serde_json::json!({"id": c.id, "account": c.account, "name": c.name, "kind": c.kind.name(),
                    "access_id": c.access_id, "state": c.state.name(), "created_at": shown(c.created_at),
                    "expires_at": c.expires_at.map(shown), "used_at": c.used_at.map(shown)})
            })
            .collect();
        return Ok(output::line(serde_json::to_string_pretty(&list)?)?);
    }
    let head = ["ACCOUNT", "NAME", "KIND", "ACCESS ID", "STATE", "MADE", "EXPIRES", "LAST USE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for credential in credentials {
        let or_none = |time: Option<DateTime<Utc>>, none: &str| time.map_or(none.to_owned(), shown);
        rows.push(vec![
            credential.account.clone(),
            credential.name.clone(),
            credential.kind.name().to_owned(),
            credential.access_id.clone().unwrap_or_else(|| "-".to_owned()),
            credential.state.name().to_owned(),
            shown(credential.created_at),
            or_none(credential.expires_at, "never"),
            or_none(credential.used_at, "none"),
        ]);
    }
    Ok(output::table(&rows)?)
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads an end: a time from now such as `90d`, or a time of the calendar in RFC 3339.
fn parse_expiry(text: &str, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let wrong =
        || format!("`{}` is neither a time such as 90d nor one such as {}", text.escape_debug(), shown(now));
    let length = TimeDelta::from_std(super::parse_time(text, MAX_LIFE).ok().with_context(wrong)?).ok();
    length.and_then(|length| now.checked_add_signed(length)).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_length_of_time_or_a_time() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let end = |text| parse_expiry(text, now).unwrap().timestamp() - 1_700_000_000;
        assert_eq!(end("90d"), 90 * 86_400);
        assert_eq!(end("36h"), 36 * 3_600);
        assert_eq!(end("2023-11-14T23:13:20+01:00"), 0);
        assert_eq!(end("2023-11-14T22:13:21Z"), 1);
        for text in ["", "tomorrow", "2027-01-31", "90", "99999999999999999d", "1e9d", "9é"] {
            let error = parse_expiry(text, now).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is neither a time such as 90d nor")), "{error}");
        }
    }
}
