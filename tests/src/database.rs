//! A fresh database for each test, on either store.

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

/// A database of one test; its files go with it.
#[derive(Debug)]
pub struct Database {
    url: String,
    _folder: Option<TempDir>,
}

impl Database {
    /// A SQLite file in a temporary folder.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/undertone.db", folder.path().display());
        Self {
            url,
            _folder: Some(folder),
        }
    }

    /// A new database on the server that `UNDERTONE_TEST_POSTGRES` names. `make test` starts one.
    pub async fn postgres() -> Self {
        let server = std::env::var("UNDERTONE_TEST_POSTGRES")
            .expect("UNDERTONE_TEST_POSTGRES is not set; run the tests by `make test`");
        let mut id = [0; 8];
        getrandom::fill(&mut id).unwrap();
        let name = format!("undertone_{:016x}", u64::from_le_bytes(id));
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        connection
            .execute(sqlx::AssertSqlSafe(create))
            .await
            .unwrap();
        let (base, _) = server.rsplit_once('/').expect("the URL names a database");
        Self {
            url: format!("{base}/{name}"),
            _folder: None,
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}
