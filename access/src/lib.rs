//! Who may do what: customers, accounts, permissions, sign-ins and the outbox.
#![forbid(unsafe_code)]
