//! Databases: pools, migrations, table descriptions, generations and positions.
#![forbid(unsafe_code)]
