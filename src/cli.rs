//! The command line.

mod events;

use std::net::SocketAddr;
use std::path::PathBuf;

use annals_access::{CredentialKind, Permission};
use annals_producers::importers::LocalZone;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use events::{EventFormat, EventOrder, QueryArguments, TailArguments};

/// An event-sourced audit and session backend: one log that is never changed, views folded from it, and the APIs
/// that your clients already speak.
#[derive(Debug, Parser)]
#[command(name = "annals", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Settings come from flags, then from environment variables (ANNALS_DATA, ANNALS_LISTEN, ANNALS_LOG, …), then from
annals.toml in the current directory or where --config points.

First steps:
  annals demo                                          everything at once, in a temporary directory
  annals serve --data ./data                           a server
  annals customer add ACME --data ./data
  annals account add ada@acme.example --customer ACME --permission can_manage_users --password-stdin --data ./data
  annals import windows-security events.jsonl --customer ACME --data ./data";

/// What every command takes.
#[derive(Args, Debug)]
pub struct Global {
    /// The data directory of the embedded engines. Commands that write make it when it is not there.
    #[arg(long, global = true, env = "ANNALS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The event log: `embedded` in the data directory, or kafka://HOST:PORT[,HOST:PORT…][?tls=true&ca=FILE
    /// &sasl=scram-sha-256&password_file=FILE] [default: embedded].
    #[arg(long, global = true, env = "ANNALS_BUS", hide_env_values = true, value_name = "URL")]
    pub bus: Option<String>,

    /// The views and control tables: `embedded` in the data directory, or postgres://USER@HOST/DATABASE
    /// [?sslmode=verify-full&password_file=FILE] [default: embedded].
    #[arg(long, global = true, env = "ANNALS_STORE", hide_env_values = true, value_name = "URL")]
    pub store: Option<String>,

    /// The schema registry (Confluent's API), when values are to be framed by it: http://HOST:PORT[/PATH].
    #[arg(long, global = true, env = "ANNALS_REGISTRY", hide_env_values = true, value_name = "URL")]
    pub registry: Option<String>,

    /// The file with the master key, which seals the access keys of LMv1 credentials: 64 hexadecimal digits, or base64 of
    /// 32 bytes. ANNALS_MASTER_KEY holds the key itself [default: DIR/master.key, made when it is needed].
    #[arg(long, global = true, env = "ANNALS_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,

    /// The configuration file [default: annals.toml, when it is there].
    #[arg(long, global = true, env = "ANNALS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What is logged to stderr: error, warn, info, debug, trace, or a filter such as `annals_bus=debug,info`
    /// [default: info from annals, warn from the libraries].
    #[arg(long, global = true, env = "ANNALS_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// How the log is written [default: text].
    #[arg(long, global = true, env = "ANNALS_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in a fresh temporary directory, with an invented fleet that publishes live.
    ///
    /// Prints credentials and ready curl lines, and removes the directory at Ctrl-C.
    Demo {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, env = "ANNALS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8400")]
        listen: SocketAddr,
        /// Events per second.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rate: u32,
    },
    /// Run the server: projectors, relay and the query API, until SIGTERM or Ctrl-C.
    Serve {
        /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8400].
        #[arg(long, env = "ANNALS_LISTEN", value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
        /// What this process does; several processes may do each of them on a shared log and store
        /// [default: projector,query,relay].
        #[arg(long, env = "ANNALS_ROLES", value_name = "ROLES", value_delimiter = ',')]
        roles: Vec<ServerRole>,
        /// Requests of one customer to one endpoint of LogicMonitor's dialect in a minute, over all processes
        /// [default: 6000].
        #[arg(long, env = "ANNALS_RATE_LIMIT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        rate_limit: Option<u32>,
    },
    /// Show the processes at work, and how far each view has folded the log.
    Status {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make the topics of the log.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Copy the control tables: customers, accounts, permissions, credentials.
    #[command(subcommand)]
    Control(ControlCommand),
    /// Rights in the database.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Add and list customers.
    #[command(subcommand)]
    Customer(CustomerCommand),
    /// Add, list, disable accounts, and set passwords.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Grant and revoke permissions.
    #[command(subcommand)]
    Permission(PermissionCommand),
    /// Add, list, revoke and rotate the credentials of programs.
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Import records of real machines. May run beside a server on the same data directory.
    ///
    /// A record that is in the log already is not published again, so a file can be imported as often as you like.
    /// Lines that cannot be parsed are listed, the rest goes on, and the exit status is 3.
    Import(ImportArguments),
    /// Ask the audit log for the events of every customer. The read is recorded.
    Query(QueryArguments),
    /// Print audit events of every customer as they come, in the order of the log. The read is recorded.
    ///
    /// Ends at Ctrl-C and prints the token that a later `tail` goes on after, so that nothing is missed in between.
    Tail(TailArguments),
    /// Look at the event log.
    #[command(subcommand)]
    Log(LogCommand),
    /// Fold a view from the log again, and switch to the result at once. May run beside a server.
    Rebuild {
        /// The view: audit_log or logged_on_users.
        view: String,
    },
    /// Records that a view could not decode.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Check the configuration and the data directory, and print the settings that count.
    CheckConfig,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Customers.
#[derive(Debug, Subcommand)]
pub enum CustomerCommand {
    /// Add a customer.
    Add {
        /// Its name: an e-mail, or any other text without blanks.
        name: String,
        /// Zone of the customer's local times, by its IANA name.
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: String,
    },
    /// List all customers.
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account.
    Add {
        /// Its e-mail, which is also the user name.
        email: String,
        /// The customer that it belongs to.
        #[arg(long, value_name = "NAME")]
        customer: String,
        /// A permission at its customer; may be given several times.
        #[arg(long = "permission", value_name = "PERMISSION", value_parser = permission_values())]
        permissions: Vec<String>,
        /// Read the password from standard input (one line).
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// List all accounts with their permissions.
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Disable an account: its sign-ins end at once, and its credentials are refused.
    Disable {
        /// Its e-mail.
        email: String,
    },
    /// Set an account's password: its sign-ins end at once.
    Password {
        /// Its e-mail.
        email: String,
        /// Read the password from standard input (one line).
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

/// Permissions.
#[derive(Debug, Subcommand)]
pub enum PermissionCommand {
    /// Grant permissions.
    Grant(PermissionArguments),
    /// Revoke permissions.
    Revoke(PermissionArguments),
}

/// Which permissions of whom, where.
#[derive(Args, Debug)]
pub struct PermissionArguments {
    /// E-mail of the account.
    pub email: String,
    /// The permissions.
    #[arg(required = true, value_name = "PERMISSION", value_parser = permission_values())]
    pub permissions: Vec<String>,
    /// The customer that they count at [default: the account's own].
    #[arg(long, value_name = "NAME")]
    pub customer: Option<String>,
}

/// Credentials of programs.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Add a credential, and print its secret. It is shown this once.
    Add {
        /// E-mail of the account whose permissions it has.
        email: String,
        /// Its name: any text that no other credential of the account has; in quotes when it has blanks.
        name: String,
        /// What it is: an access id with a key that signs requests, a bearer token, or an API key.
        #[arg(long, value_name = "KIND", value_parser = credential_kinds())]
        kind: String,
        /// When it ends: after a time such as `90d`, or at one such as 2027-01-31T00:00:00Z [default: never].
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List all credentials, without their secrets. Revoked ones are listed for 90 days.
    List {
        /// Only those of this account.
        #[arg(long, value_name = "EMAIL")]
        account: Option<String>,
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a credential: it is refused at once.
    Revoke {
        /// E-mail of the account.
        email: String,
        /// Its name.
        name: String,
    },
    /// Replace a credential by a new one with its name and end, and print the new secret. The old one is refused at once.
    Rotate {
        /// E-mail of the account.
        email: String,
        /// Its name.
        name: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Seal the keys of all LMv1 credentials under the current master key. Afterwards older ones are not needed.
    Reseal {
        /// The file with a master key that was the current one before; may be given several times. Those that
        /// ANNALS_OLD_MASTER_KEYS names (FILE,FILE…) are used as well.
        #[arg(long = "old-key-file", value_name = "FILE")]
        old_key_files: Vec<PathBuf>,
    },
}

/// What an import takes.
#[derive(Args, Debug)]
pub struct ImportArguments {
    /// What the records are.
    #[arg(value_enum)]
    pub format: ImportFormat,
    /// JSON lines, also gzipped; for cloudtrail also the service's own `{"Records": […]}` files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The customer that the records belong to.
    #[arg(long, value_name = "NAME")]
    pub customer: String,
    /// Zone of times that are written without one, an IANA name or an offset [default: found from each record].
    #[arg(long = "timezone", value_name = "ZONE")]
    pub time_zone: Option<LocalZone>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The importers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ImportFormat {
    /// Windows security and system events.
    WindowsSecurity,
    /// AWS CloudTrail.
    Cloudtrail,
}

/// What a server process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerRole {
    /// Folds the log into the views.
    Projector,
    /// Answers the dialects.
    Query,
    /// Brings the outbox into the log.
    Relay,
}

impl ServerRole {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Projector, Self::Query, Self::Relay];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Projector => "projector",
            Self::Query => "query",
            Self::Relay => "relay",
        }
    }
}

/// Topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Make the topics that are missing, and check those that are there.
    ///
    /// A topic with another number of partitions than this version has is refused: its keys would move. Copy the log into a
    /// new one instead (`annals log copy`). How many copies of a record a cluster keeps is part of the address:
    /// kafka://…?replication=3&min_insync=2
    Ensure {
        /// How long records are kept, such as `400d` [default: for ever].
        #[arg(long, value_name = "TIME")]
        retention: Option<String>,
    },
}

/// Control tables.
#[derive(Debug, Subcommand)]
pub enum ControlCommand {
    /// Copy customers, accounts, permissions and credentials into a store that has none yet.
    ///
    /// FROM and TO are data directories or postgres:// addresses. Together with `annals log copy` it is the way from one
    /// machine to many, and the backup. The master key of LMv1 credentials is not in the store: copy its file yourself.
    Copy {
        /// Where they are.
        from: String,
        /// Where they go.
        to: String,
    },
}

/// Rights in the database.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Give a role of the PostgreSQL database what a query server needs: reading the views, writing the control tables.
    GrantQuery {
        /// The role, which must be there.
        role: String,
    },
}

/// The log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Copy the log, event ids and times of recording included.
    ///
    /// FROM and TO are data directories, kafka:// addresses, or archive:FOLDER. A copy that was interrupted goes on where
    /// it was, and one that is repeated copies what has come since. Stop what writes to TO before.
    Copy {
        /// The log to read.
        from: String,
        /// The log or archive to write.
        to: String,
        /// Print the summary as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the log as JSON lines: position, recorded_at and the decoded event.
    Dump {
        /// Only this topic.
        #[arg(long)]
        topic: Option<String>,
        /// Where to begin: an offset (in every partition), a time (RFC 3339), or TOPIC/PARTITION/OFFSET (only there).
        #[arg(long, value_name = "POSITION")]
        from: Option<String>,
    },
}

/// Dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List them: view, position, time and reason.
    List {
        /// Only of this view.
        #[arg(long)]
        view: Option<String>,
    },
    /// Show one with its bytes.
    Show {
        /// The view.
        view: String,
        /// TOPIC/PARTITION/OFFSET, as `list` prints it.
        position: String,
    },
}

fn permission_values() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Permission::ALL.map(Permission::name))
}

fn credential_kinds() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(CredentialKind::ALL.map(CredentialKind::name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
