//! An empty place to keep things, on either engine. A case that both engines must pass is written once.

use std::sync::Arc;

use annals_store::{Column, ColumnKind, DataDir, Database, Index, Pool, Table, ViewStore};

pub(crate) const THINGS: Table = Table {
    name: "things",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("thing", ColumnKind::Uuid),
        Column::new("name", ColumnKind::Text),
        Column::nullable("until", ColumnKind::Timestamp),
    ],
    unique: &["thing"],
    is_changed: false,
    indexes: &[Index { name: "things_by_name", columns: &["name"] }],
};

pub(crate) const NAMES: Table = Table {
    name: "names",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("name", ColumnKind::Text),
        Column::new("kind", ColumnKind::SmallInteger),
    ],
    unique: &["name", "kind"],
    is_changed: false,
    indexes: &[],
};

pub(crate) const PAIRS: Table = Table {
    name: "pairs",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("owner", ColumnKind::Uuid),
        Column::new("first", ColumnKind::Text),
        Column::new("second", ColumnKind::Text),
        Column::new("address", ColumnKind::Address),
    ],
    unique: &["owner", "first", "second", "address"],
    is_changed: false,
    indexes: &[],
};

/// A column of every kind.
pub(crate) const EVERYTHING: Table = Table {
    name: "everything",
    columns: &[
        Column::new("id", ColumnKind::RowNumber),
        Column::new("small", ColumnKind::SmallInteger),
        Column::new("key", ColumnKind::Integer),
        Column::nullable("flag", ColumnKind::SmallInteger),
        Column::nullable("name_id", ColumnKind::DictionaryId),
        Column::nullable("number", ColumnKind::Integer),
        Column::nullable("uuid", ColumnKind::Uuid),
        Column::nullable("at", ColumnKind::Timestamp),
        Column::nullable("text", ColumnKind::Text),
        Column::nullable("address", ColumnKind::Address),
        Column::nullable("bytes", ColumnKind::Bytes),
    ],
    unique: &["small", "key"],
    is_changed: false,
    indexes: &[],
};

pub(crate) const TABLES: [&Table; 4] = [&THINGS, &NAMES, &PAIRS, &EVERYTHING];

/// An empty place, removed with this value.
pub(crate) struct Here {
    pub(crate) database: Database,
    _owner: Owner,
}

#[expect(dead_code, reason = "held until the end of the test")]
enum Owner {
    Folder(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Database(crate::postgres::FreshDatabase),
}

impl Here {
    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::Embedded(DataDir::create(folder.path()).unwrap());
        Self { database, _owner: Owner::Folder(folder) }
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres() -> Self {
        let fresh = crate::postgres::FreshDatabase::make().await;
        Self { database: Database::Postgres(fresh.open()), _owner: Owner::Database(fresh) }
    }

    /// The first generation of the view `view`, opened once more.
    pub(crate) async fn store(&self) -> Arc<dyn ViewStore> {
        self.database.view_store("view", 1, &TABLES).await.unwrap()
    }

    pub(crate) async fn readers(&self) -> Pool {
        self.database.readers("view", 1).await.unwrap()
    }
}

/// Makes a test on each engine of cases that are written once.
macro_rules! on_both_engines {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::engine::Here::embedded().await).await;
            })+
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::engine::Here::postgres().await).await;
            })+
        }
    };
}
