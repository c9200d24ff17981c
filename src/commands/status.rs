//! `annals status`.

use std::process::ExitCode;

use annals_consumers::survey::{self, GenerationSurvey, Survey};

use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let installation = Installation::read(config).await?;
    let survey = survey::survey(&installation.engine(), &installation.access).await;
    installation.close().await;
    let survey = survey?;
    if json {
        output::line(serde_json::to_string_pretty(&survey)?)?;
    } else {
        print(&survey)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(survey: &Survey) -> anyhow::Result<()> {
    let mut processes = vec![header(["PROCESS", "HOST", "ROLES", "VERSION", "SINCE", "SEEN", "DOING"])];
    for process in &survey.processes {
        processes.push(vec![
            process.process.to_string(),
            process.host.clone(),
            process.roles.clone(),
            process.version.clone(),
            process.started_at.clone(),
            process.seen_at.clone(),
            doing(&process.consumers),
        ]);
    }
    output::table(&processes)?;
    output::line("")?;
    let mut views = vec![header(["VIEW", "GENERATION", "STATE", "PARTITION", "POSITION", "LAG", "MEMBER"])];
    for generation in &survey.generations {
        views.extend(partitions(generation));
    }
    output::table(&views)?;
    for generation in survey.generations.iter().filter(|generation| generation.dead_letters > 0) {
        output::line(format!(
            "{} records are dead letters of {} (annals dead-letters list)",
            output::number(generation.dead_letters),
            generation.view
        ))?;
    }
    output::line("")?;
    output::line(format!("{} events wait in the outbox", output::number(survey.outbox)))?;
    Ok(())
}

fn header<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// What a process's consumers do, where it is not simply running.
fn doing(consumers: &serde_json::Value) -> String {
    let troubles: Vec<String> = consumers
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, state)| state["state"] != "running")
        .map(|(name, state)| match state["reason"].as_str() {
            Some(reason) => format!("{name}: {} ({reason})", state["state"].as_str().unwrap_or_default()),
            None => format!("{name}: {}", state["state"].as_str().unwrap_or_default()),
        })
        .collect();
    if troubles.is_empty() { "running".to_owned() } else { troubles.join("; ") }
}

fn partitions(generation: &GenerationSurvey) -> Vec<Vec<String>> {
    let head = [generation.view.to_owned(), generation.generation.to_string(), generation.state.to_owned()];
    if generation.partitions.is_empty() {
        return vec![head.to_vec()];
    }
    generation
        .partitions
        .iter()
        .map(|at| {
            let name = format!("{}/{}", at.topic, at.partition);
            let member = generation.members.iter().find(|member| member.partitions.contains(&name));
            let member = member.map_or("-", |member| &member.client_id);
            let mut row = head.to_vec();
            row.extend([name, output::number(at.position), output::number(at.lag), member.to_owned()]);
            row
        })
        .collect()
}
