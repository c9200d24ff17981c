//! No secret leaves: not in events, not in messages, not in `Debug` outputs, and cookies not even into the database.

use annals_access::{Author, Client, CredentialKind, Permission, Secret};
use annals_store::sql::sql;

use crate::support::{Engine, Home, PASSWORD, client, issued, show, suite};

suite!(
    no_secret_is_in_an_event_or_a_debug_output,
    no_cookie_is_in_a_row,
    neither_token_nor_access_key_is_in_a_row,
);

const LMV1: CredentialKind = CredentialKind::Lmv1;
const NEW_PASSWORD: &str = "staple of another horse";
const WRONG_PASSWORD: &str = "guess of a stranger";

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

async fn no_secret_is_in_an_event_or_a_debug_output(engine: Engine) {
    let home = Home::new(engine).await;
    let opened = home.opened().await;
    let access = opened.access.clone();
    let by = Author::command_line();
    let client = client("10.0.0.7");
    let operator_password = match home.database().operator_password() {
        Some(file) => std::fs::read_to_string(file).unwrap(),
        None => {
            access.set_password("operator", Secret::new("of the operator"), &by).await.unwrap();
            "of the operator".to_owned()
        }
    };
    let told = access.outbox_len().await.unwrap();
    let mut outputs = vec![format!("{opened:?} {access:?} {by:?} {client:?}")];

    outputs.push(format!("{:?}", access.add_customer("acme", "UTC", &by).await));
    let password = Secret::new(PASSWORD);
    outputs.push(format!("{password:?}"));
    outputs.push(format!(
        "{:?}",
        access.add_account("ada", "acme", &[Permission::Publish], password, &by).await
    ));
    let sign_in = access.sign_in("ada", PASSWORD, &client, "papi").await;
    outputs.push(format!("{sign_in:?} {:#?}", sign_in));
    let sign_in = sign_in.unwrap();
    outputs.push(format!("{:?}", access.resume(&sign_in.cookie).await));
    outputs.push(format!("{:?}", access.sign_in("ada", WRONG_PASSWORD, &client, "papi").await));
    outputs.push(format!("{:?}", access.sign_in("nobody", WRONG_PASSWORD, &client, "papi").await));
    outputs.push(format!("{:?}", access.set_password("ada", Secret::new(NEW_PASSWORD), &by).await));
    outputs.push(format!("{:?}", access.set_password("nobody", Secret::new(NEW_PASSWORD), &by).await));
    outputs.push(format!("{:?}", access.resume(&sign_in.cookie).await));
    outputs.push(format!("{:?}", access.sign_out(&sign_in.principal, &client, "papi").await));
    outputs
        .push(format!("{:?}", access.sign_in("operator", operator_password.trim(), &client, "papi").await));
    outputs.push(format!("{:?} {:?}", access.accounts().await, access.customers().await));
    let mut issued = Vec::new();
    for kind in CredentialKind::ALL {
        let added = access.add_credential("ada", kind, kind.name(), None, &by).await.unwrap();
        let rotated = access.rotate_credential("ada", kind.name(), &by).await.unwrap();
        outputs.push(format!("{added:?} {rotated:#?}"));
        for credential in [added, rotated] {
            outputs.push(format!("{:?}", show(&access, kind, &credential).await));
            issued.push(credential.secret);
        }
    }
    outputs.push(format!("{:?} {access:?}", access.credentials(None).await));
    let master_key = std::fs::read_to_string(home.master_key()).unwrap();

    let pool = access.control().pool();
    let hashes: Vec<String> = sql("SELECT password_hash FROM accounts").fetch_scalars(pool).await.unwrap();
    let tokens: Vec<Vec<u8>> = sql("SELECT token_hash FROM sign_ins").fetch_scalars(pool).await.unwrap();
    let key: Vec<u8> = sql("SELECT secret FROM installation").fetch_scalar(pool).await.unwrap();
    assert_eq!((hashes.len(), tokens.len(), key.len()), (2, 1, 64));

    let mut secrets: Vec<Vec<u8>> =
        [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, operator_password.trim(), &sign_in.cookie]
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
    secrets.extend(hashes.iter().map(|hash| hash.as_bytes().to_vec()));
    secrets.extend(tokens);
    secrets.push(key);
    secrets.push(b"argon2id".to_vec());
    secrets.extend(issued.iter().map(|secret| secret.expose().as_bytes().to_vec()));
    secrets.push(master_key.trim().as_bytes().to_vec());
    secrets.push(hex_decoded(master_key.trim()));
    let hashes = sql("SELECT token_hash FROM credentials WHERE token_hash IS NOT NULL").fetch_scalars(pool);
    let hashes: Vec<Vec<u8>> = hashes.await.unwrap();
    secrets.extend(hashes);

    let entries = access.outbox(1_000).await.unwrap();
    // Eight of the account, six changes of credentials, and three that were refused after they were rotated.
    assert_eq!(entries.len() as u64, told + 8 + 6 + 3);
    outputs.push(format!("{entries:?}"));
    for secret in &secrets {
        for entry in &entries {
            assert!(!contains(&entry.value, secret) && !contains(entry.key.as_bytes(), secret));
        }
        for output in &outputs {
            assert!(!contains(output.as_bytes(), secret), "{output}");
            assert!(!output.contains(&format!("{secret:?}")), "{output}");
        }
    }
}

#[tokio::test]
async fn neither_password_nor_cookie_is_in_the_database() {
    let (home, access) = Home::with_ada(Engine::Embedded).await;
    let operator_file = home.database().operator_password().unwrap();
    let sign_in = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    access.resume(&sign_in.cookie).await.unwrap();
    let operator_password = std::fs::read_to_string(&operator_file).unwrap();
    let bytes = hex_decoded(&sign_in.cookie);
    let mut files = 0;
    for entry in std::fs::read_dir(operator_file.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path == operator_file {
            continue;
        }
        files += 1;
        let content = std::fs::read(&path).unwrap();
        for secret in
            [PASSWORD.as_bytes(), sign_in.cookie.as_bytes(), &bytes, operator_password.trim().as_bytes()]
        {
            assert!(!contains(&content, secret), "{}", path.display());
        }
    }
    assert!(files >= 2);
}

async fn no_cookie_is_in_a_row(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let sign_in = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    access.resume(&sign_in.cookie).await.unwrap();
    let row = sql("SELECT token_hash, public_id FROM sign_ins");
    let row = row.fetch_one(access.control().pool()).await.unwrap();
    let bytes = hex_decoded(&sign_in.cookie);
    let (hash, public_id): (Vec<u8>, String) = (row.get(0).unwrap(), row.get(1).unwrap());
    assert!(hash != bytes && hash != sign_in.cookie.as_bytes());
    assert!(!sign_in.cookie.contains(&public_id));
}

async fn neither_token_nor_access_key_is_in_a_row(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    for kind in CredentialKind::ALL {
        let credential = issued(&access, kind, kind.name()).await;
        show(&access, kind, &credential).await.unwrap();
        let row = sql("SELECT name, access_id, token_hash, sealed, key_id FROM credentials WHERE id = ?");
        let row = row.bind(credential.id).fetch_one(access.control().pool()).await.unwrap();
        let texts: [Option<String>; 3] = [0, 1, 4].map(|at: usize| row.get(at).unwrap());
        let bytes: [Option<Vec<u8>>; 2] = [2, 3].map(|at: usize| row.get(at).unwrap());
        assert_eq!([bytes[0].is_some(), bytes[1].is_some()], [kind != LMV1, kind == LMV1]);
        let secret = credential.secret.expose();
        let random = hex_decoded(secret.rsplit('_').next().unwrap());
        let texts = texts.into_iter().flatten().map(String::into_bytes);
        for field in texts.chain(bytes.into_iter().flatten()) {
            assert!(!contains(&field, secret.as_bytes()) && !contains(&field, &random));
        }
    }
}

fn hex_decoded(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
