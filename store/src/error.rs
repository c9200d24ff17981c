//! What can go wrong with a database, and the one place that reads its error codes.

use crate::Place;

/// Errors of this crate. `Display` names the thing; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Made by a program that knows more than this one.
    #[error("`{0}` was made by a newer version of annals; use that version, or another place")]
    NewerVersion(Place),
    /// The file, folder or table cannot be written.
    #[error("`{0}` is not writable")]
    NotWritable(Place),
    /// The file or folder cannot be created or read.
    #[error("cannot open `{path}`")]
    Open {
        /// What could not be opened.
        path: Place,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing is there.
    #[error("there is no data directory at `{0}`")]
    NoDirectory(Place),
    /// A command that only reads found no control tables.
    #[error("there is no installation in `{0}`")]
    NoInstallation(Place),
    /// The disk is full.
    #[error("no space left on the disk that holds `{0}`")]
    DiskFull(Place),
    /// Not a database, or a damaged one.
    #[error("`{0}` is damaged or not a database of annals")]
    Damaged(Place),
    /// Another process has the role.
    #[error("another process is the {role} of `{path}`{}", .holder.as_ref().map(|h| format!(" (process {h})")).unwrap_or_default())]
    InUse {
        /// The data directory or database.
        path: Place,
        /// The role.
        role: &'static str,
        /// Process id of the holder, when it wrote it down.
        holder: Option<String>,
    },
    /// Another writer moved a position, or the generation was retired: this writer must start again from the store.
    #[error("the positions of `{0}` were moved by another writer")]
    Fenced(Place),
    /// A generation that was to become the active one is not being built any more.
    #[error(
        "generation {generation} of view `{view}` in `{place}` was given up meanwhile: another rebuild took its place"
    )]
    GivenUp {
        /// The control tables.
        place: Place,
        /// The view.
        view: String,
        /// The generation.
        generation: i64,
    },
    /// A table is not there: the generation was removed, or never made.
    #[error("a table of `{0}` is not there")]
    Gone(Place),
    /// The database is locked by somebody for longer than the time limit.
    #[error("`{0}` is locked by another process")]
    Busy(Place),
    /// The database did not take longer than the time limit of a statement.
    #[error("`{place}` took too long to {operation}")]
    TooSlow {
        /// The database.
        place: Place,
        /// What was being done.
        operation: &'static str,
    },
    /// The database cannot be reached, read or written now: a failing disk, a server that is down or starting.
    #[error("`{path}` cannot be reached now, while trying to {operation}")]
    Unavailable {
        /// The database.
        path: Place,
        /// What was being done.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// The server refuses this user, password, encryption or database.
    #[error("`{place}` refuses the connection; look at the setting --store")]
    Refused {
        /// The database.
        place: Place,
        /// What the server says.
        #[source]
        source: sqlx::Error,
    },
    /// The user lacks a right.
    #[error("the user of `{place}` may not {operation}; look at the user in the setting --store")]
    NoRight {
        /// The database.
        place: Place,
        /// What was being done.
        operation: &'static str,
        /// What the server says.
        #[source]
        source: sqlx::Error,
    },
    /// A setting of the store that cannot be.
    #[error("the setting --store cannot be used: {0}")]
    Setting(String),
    /// Anything else that the database says.
    #[error("database error in `{path}` while trying to {operation}")]
    Database {
        /// The database.
        path: Place,
        /// What was being done.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
}

/// What an error code means, whichever engine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "some only a server says"))]
enum Meaning {
    Busy,
    NotWritable,
    Unavailable,
    DiskFull,
    Damaged,
    Gone,
    TooSlow,
    Refused,
    NoRight,
    Other,
}

/// Result codes of SQLite (<https://sqlite.org/rescode.html>), primary part.
fn sqlite_code(code: &str) -> Meaning {
    match code.parse::<u32>().map(|extended| extended & 0xFF) {
        Ok(5 | 6) => Meaning::Busy,
        Ok(8) => Meaning::NotWritable,
        Ok(10 | 14) => Meaning::Unavailable,
        Ok(11 | 26) => Meaning::Damaged,
        Ok(13) => Meaning::DiskFull,
        _ => Meaning::Other,
    }
}

/// SQLSTATE of PostgreSQL (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
#[cfg(feature = "postgres")]
fn sqlstate(code: &str) -> Meaning {
    match code {
        // Deadlock, serialization failure, lock not available within lock_timeout, object in use.
        "40P01" | "40001" | "55P03" | "55006" => Meaning::Busy,
        // A standby or a database that is read-only for the moment: a switch-over.
        "25006" => Meaning::Unavailable,
        // The server ended the session: shutdown, crash recovery, starting, idle for too long, in a transaction or not.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" => Meaning::Unavailable,
        // The disk.
        "53100" => Meaning::DiskFull,
        // Files that the server could not read or write just now.
        "58030" | "58000" => Meaning::Unavailable,
        // The limit of a statement, or an administrator who cancelled it.
        "57014" => Meaning::TooSlow,
        // Bad pages, bad indexes, a file of a table that is not there.
        "XX001" | "XX002" | "58P01" => Meaning::Damaged,
        "42P01" | "3F000" => Meaning::Gone,
        "28000" | "28P01" | "3D000" => Meaning::Refused,
        "42501" => Meaning::NoRight,
        // Out of memory, of connections, of what was configured.
        _ if code.starts_with("53") => Meaning::Unavailable,
        _ if code.starts_with("08") => Meaning::Unavailable,
        _ => Meaning::Other,
    }
}

fn meaning(source: &sqlx::Error) -> Meaning {
    match source {
        #[cfg(feature = "postgres")]
        sqlx::Error::Database(error) => match error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
            Some(error) => sqlstate(error.code()),
            None => error.code().map_or(Meaning::Other, |code| sqlite_code(&code)),
        },
        #[cfg(not(feature = "postgres"))]
        sqlx::Error::Database(error) => error.code().map_or(Meaning::Other, |code| sqlite_code(&code)),
        // The address of --store is resolved by the same call that connects: a wrong one looks like a server that is
        // down, and both are told with the address. Protocol errors are connections that were cut.
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => Meaning::Unavailable,
        // Encryption, or a way to sign in, that the two sides do not share.
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Meaning::Refused,
        _ => Meaning::Other,
    }
}

impl StoreError {
    /// Reads the code of a database error.
    #[must_use]
    pub fn database(place: impl Into<Place>, operation: &'static str, source: sqlx::Error) -> Self {
        let path = place.into();
        match meaning(&source) {
            Meaning::Busy => Self::Busy(path),
            Meaning::NotWritable => Self::NotWritable(path),
            Meaning::Unavailable => Self::Unavailable { path, operation, source },
            Meaning::DiskFull => Self::DiskFull(path),
            Meaning::Damaged => Self::Damaged(path),
            Meaning::Gone => Self::Gone(path),
            Meaning::TooSlow => Self::TooSlow { place: path, operation },
            Meaning::Refused => Self::Refused { place: path, source },
            Meaning::NoRight => Self::NoRight { place: path, operation, source },
            Meaning::Other => Self::Database { path, operation, source },
        }
    }

    /// Whether trying again later may help without anybody changing a setting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy(_)
                | Self::DiskFull(_)
                | Self::Fenced(_)
                | Self::GivenUp { .. }
                | Self::Gone(_)
                | Self::TooSlow { .. }
                | Self::Unavailable { .. }
        )
    }
}

/// Adds the place and the operation to a database error.
pub trait Context<T> {
    /// Maps the error; `operation` completes "while trying to …".
    ///
    /// # Errors
    /// The mapped error.
    fn during(self, place: impl Into<Place>, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> Context<T> for Result<T, sqlx::Error> {
    fn during(self, place: impl Into<Place>, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::database(place, operation, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_of_sqlite_are_read_without_their_extension() {
        for (code, expected) in [
            ("5", Meaning::Busy),
            ("517", Meaning::Busy),
            ("8", Meaning::NotWritable),
            ("1032", Meaning::NotWritable),
            ("10", Meaning::Unavailable),
            ("14", Meaning::Unavailable),
            ("11", Meaning::Damaged),
            ("26", Meaning::Damaged),
            ("13", Meaning::DiskFull),
            ("19", Meaning::Other),
            ("2067", Meaning::Other),
            ("?", Meaning::Other),
        ] {
            assert_eq!(sqlite_code(code), expected, "{code}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn each_sqlstate_has_its_meaning() {
        for (codes, expected) in [
            (&["40001", "40P01", "55P03", "55006"][..], Meaning::Busy),
            (&["08000", "08001", "08003", "08004", "08006", "08007", "08P01"], Meaning::Unavailable),
            (&["25006", "25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"], Meaning::Unavailable),
            (&["53000", "53200", "53300", "53400", "58000", "58030"], Meaning::Unavailable),
            (&["53100"], Meaning::DiskFull),
            (&["57014"], Meaning::TooSlow),
            (&["XX001", "XX002", "58P01"], Meaning::Damaged),
            (&["42P01", "3F000"], Meaning::Gone),
            (&["28000", "28P01", "3D000"], Meaning::Refused),
            (&["42501"], Meaning::NoRight),
            // A unique key, a null, a check, a text that is no UTF-8, an index entry that is too long, a wrong
            // statement, an error of the server: to try again helps none of them.
            (
                &["23505", "23502", "23514", "22021", "54000", "42601", "42703", "25P02", "XX000"],
                Meaning::Other,
            ),
        ] {
            for code in codes {
                assert_eq!(sqlstate(code), expected, "{code}");
            }
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_transient_and_a_wrong_setting_is_not() {
        let error = |source| StoreError::database("x", "try", source);
        assert!(error(sqlx::Error::PoolTimedOut).is_transient());
        assert!(error(sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into())).is_transient());
        assert!(!error(sqlx::Error::Tls("none".into())).is_transient());
        assert!(!error(sqlx::Error::RowNotFound).is_transient());
        assert!(error(sqlx::Error::Tls("none".into())).to_string().contains("--store"));
    }
}
