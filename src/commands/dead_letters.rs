//! `annals dead-letters`.

use std::process::ExitCode;

use annals_consumers::{ConsumerError, dead_letters, for_each_view};
use annals_store::DeadLetter;
use annals_views::View;
use anyhow::Context;
use chrono::SecondsFormat;

use crate::cli::DeadLettersCommand;
use crate::commands::log::{hex, parse_place};
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, command: DeadLettersCommand) -> anyhow::Result<ExitCode> {
    let installation = Installation::read(config).await?;
    let result = match command {
        DeadLettersCommand::List { view } => list(&installation, view.as_deref()).await,
        DeadLettersCommand::Show { view, position } => show(&installation, &view, &position).await,
    };
    installation.close().await;
    result?;
    Ok(ExitCode::SUCCESS)
}

async fn letters(
    installation: &Installation,
    view: Option<&str>,
) -> anyhow::Result<Vec<(&'static str, DeadLetter)>> {
    let engine = installation.engine();
    let mut names = Vec::new();
    let mut all = Vec::new();
    macro_rules! read {
        ($view:ty) => {
            names.push(<$view>::NAME);
            if view.is_none_or(|view| view == <$view>::NAME) {
                let letters = dead_letters::list::<$view>(&engine).await?;
                all.extend(letters.into_iter().map(|letter| (<$view>::NAME, letter)));
            }
        };
    }
    for_each_view!(read);
    match view.filter(|view| !names.contains(view)) {
        Some(unknown) => Err(ConsumerError::UnknownView(unknown.to_owned(), names.join(", ")).into()),
        None => Ok(all),
    }
}

async fn list(installation: &Installation, view: Option<&str>) -> anyhow::Result<()> {
    let mut rows = vec![["VIEW", "POSITION", "RECORDED AT", "REASON"].map(str::to_owned).to_vec()];
    for (view, letter) in letters(installation, view).await? {
        rows.push(vec![
            view.to_owned(),
            format!("{}/{}", letter.partition, letter.offset),
            letter.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            letter.reason,
        ]);
    }
    Ok(output::table(&rows)?)
}

async fn show(installation: &Installation, view: &str, position: &str) -> anyhow::Result<()> {
    let (partition, offset) =
        parse_place(position).with_context(|| format!("`{position}` is not TOPIC/PARTITION/OFFSET"))?;
    let letters = letters(installation, Some(view)).await?;
    let (_, letter) = letters
        .into_iter()
        .find(|(_, letter)| letter.partition == partition && letter.offset == offset)
        .with_context(|| format!("view `{view}` has no dead letter at `{position}`"))?;
    output::table(&[
        vec!["view".into(), view.into()],
        vec!["position".into(), position.into()],
        vec!["recorded at".into(), letter.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true)],
        vec!["reason".into(), letter.reason],
        vec!["bytes".into(), hex(&letter.bytes)],
    ])?;
    Ok(())
}
