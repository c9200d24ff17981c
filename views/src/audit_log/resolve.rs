//! A question as dictionary ids: what leads an index, and what is left as a condition.

use std::collections::HashSet;
use std::hash::Hash;

use annals_store::sql::sql;
use annals_store::{Transaction, Value};
use uuid::Uuid;

use super::actions::Actions;
use super::condition::{AuditField, Conditions, Piece, any_of};
use super::query::Scope;
use super::stretches::Pair;
use super::text::{Clues, Needle};
use crate::filter::{Filter, Test, TimeRange};

/// Ids of one column that a question is led by. A condition that more of them fulfil is looked up within the statement.
const MAX_LEADING_IDS: usize = 20_000;

/// Values of one look into a dictionary.
const MAX_LOOKUP: usize = 1_000;

/// The question's conditions, each where it can be answered best. A text that no dictionary has matches nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    /// Customers of whom all is visible.
    pub(super) all_of: Vec<i64>,
    /// Customers of whom only the caller's own is.
    pub(super) own_of: Vec<i64>,
    /// Whether all is visible of every customer, as far as that was looked up: of questions that test rows.
    pub(super) sees_all: bool,
    /// The caller's ids at the customers of whom only the own is visible.
    pub(super) callers: Vec<Pair>,
    /// The time that is shown.
    pub(super) time: TimeRange,
    pub(super) actors: Option<Vec<i64>>,
    pub(super) actions: Option<Vec<i64>>,
    pub(super) addresses: Option<Vec<i64>>,
    pub(super) entities: Option<Vec<i64>>,
    pub(super) event_ids: Option<Vec<Uuid>>,
    /// Which customers and leading ids may have rows together, of those of whom all is visible. `None`: any of them.
    pub(super) pairs: Option<Vec<Pair>>,
    /// What is tested row by row.
    pub(super) condition: Option<Piece>,
    /// What holds for this page beyond the question: rows that follow another one, rows of a part of the log.
    pub(super) narrowing: Option<Piece>,
    /// What the text index has of every row that is asked for.
    pub(super) clues: Option<Clues>,
}

impl Resolved {
    /// `None` when nothing can match.
    pub(super) async fn of(
        tx: &mut Transaction,
        scope: &Scope,
        filter: &Filter<AuditField>,
    ) -> Result<Option<Self>, sqlx::Error> {
        let filters: &[Filter<AuditField>] = match filter {
            Filter::All(filters) => filters,
            one => std::slice::from_ref(one),
        };
        let mut resolved = Self::default();
        let customers = filters.iter().filter_map(|filter| match filter {
            Filter::Is(AuditField::Customer, Test::Ids(ids)) => Some(ids),
            _ => None,
        });
        resolved.see(tx, scope, &customers.collect::<Vec<_>>()).await?;
        if resolved.all_of.is_empty() && resolved.own_of.is_empty() {
            return Ok(None);
        }
        let actions =
            if filters.iter().any(reads_actions) { Actions::read(tx).await? } else { Actions::default() };
        let conditions = Conditions { dialect: tx.connection().dialect(), actions: &actions };
        let mut rest = Vec::new();
        for filter in filters {
            if !resolved.lead(tx, conditions, filter).await? {
                rest.push(filter.clone());
            }
        }
        let rest = Filter::all(rest);
        let impossible = rest == Filter::Nothing
            || resolved.time.is_empty()
            || resolved.filters().any(|(_, ids)| ids.is_some_and(<[i64]>::is_empty))
            || resolved.event_ids.as_ref().is_some_and(Vec::is_empty);
        if impossible {
            return Ok(None);
        }
        let text = Needle::of_text(&rest);
        if rest != Filter::Everything || resolved.entities.is_some() {
            resolved.sees_all = resolved.sees_all(tx).await?;
            resolved.clues = resolved.clues(text);
        }
        resolved.condition = (rest != Filter::Everything).then(|| conditions.of(&rest));
        Ok(Some(resolved))
    }

    /// Whether these are all customers of whom there is anything.
    pub(super) async fn sees_all(&self, tx: &mut Transaction) -> Result<bool, sqlx::Error> {
        let mut customers = self.all_of.clone();
        customers.sort_unstable();
        customers.dedup();
        let known: i64 = sql("SELECT count(*) FROM customers").fetch_scalar(tx).await?;
        Ok(usize::try_from(known).is_ok_and(|known| known == customers.len()))
    }

    /// What the text index is asked, beside a text.
    fn clues(&self, text: Option<Needle>) -> Option<Clues> {
        let customers = [self.all_of.as_slice(), &self.own_of].concat();
        // Whatever else is asked of a row, the index does not know of it for certain.
        let is_all = self.own_of.is_empty()
            && self.actors.is_none()
            && self.addresses.is_none()
            && self.event_ids.is_none();
        Clues::of(
            text,
            self.entities.as_deref(),
            (!self.sees_all).then_some(&*customers),
            self.actions.as_deref(),
            is_all,
        )
    }

    /// Whether every row has to be read: nothing but a text is asked of rows, whosever and whenever they are.
    pub(super) fn reads_all(&self) -> bool {
        let reads_text = |piece: &Piece| {
            ["events.search", "events.description"].iter().any(|text| piece.sql.contains(text))
        };
        self.sees_all
            && self.time == TimeRange::default()
            && self.filters().all(|(_, ids)| ids.is_none())
            && self.event_ids.is_none()
            && self.condition.as_ref().is_some_and(reads_text)
    }

    /// Whose events are visible, of the customers that are asked for.
    async fn see(
        &mut self,
        tx: &mut Transaction,
        scope: &Scope,
        customers: &[&Vec<Uuid>],
    ) -> Result<(), sqlx::Error> {
        let wanted = |customer: &&Uuid| customers.iter().all(|list| list.contains(customer));
        let wanted = |list: &[Uuid]| list.iter().filter(wanted).copied().collect::<Vec<_>>();
        let ids = "SELECT id FROM customers WHERE customer IN";
        self.all_of = lookup(tx, ids, wanted(&scope.all_of)).await?;
        let mut own_of = lookup(tx, ids, wanted(&scope.own_of)).await?;
        own_of.retain(|id| !self.all_of.contains(id));
        if !own_of.is_empty() {
            let (kind, id) = scope.caller;
            let is_caller =
                Piece::with("actor = ? AND kind = ?", [id.into(), i64::from(kind.number()).into()]);
            self.callers = actors(tx, &own_of, is_caller, None).await?;
        }
        let known: HashSet<i64> = self.callers.iter().map(|(customer, _)| *customer).collect();
        own_of.retain(|customer| known.contains(customer));
        self.own_of = own_of;
        Ok(())
    }

    /// Takes a condition on who acted. `false` when more than can be listed fulfil it.
    async fn lead_by_actors(&mut self, tx: &mut Transaction, piece: Piece) -> Result<bool, sqlx::Error> {
        let customers = [self.all_of.as_slice(), &self.own_of].concat();
        let found = actors(tx, &customers, piece, Some(MAX_LEADING_IDS + 1)).await?;
        if found.len() > MAX_LEADING_IDS {
            return Ok(false);
        }
        narrow(&mut self.actors, found.iter().map(|(_, id)| *id).collect());
        let all_of: HashSet<&i64> = self.all_of.iter().collect();
        narrow(
            &mut self.pairs,
            found.into_iter().filter(|(customer, _)| all_of.contains(customer)).collect(),
        );
        Ok(true)
    }

    /// Takes a condition that an index can answer. `false` when it is to be tested row by row.
    async fn lead(
        &mut self,
        tx: &mut Transaction,
        conditions: Conditions<'_>,
        filter: &Filter<AuditField>,
    ) -> Result<bool, sqlx::Error> {
        use AuditField as F;
        let Filter::Is(field, test) = filter else { return Ok(false) };
        match (field, test) {
            (F::At, Test::Time(range)) => self.time = self.time.and(*range),
            // Seen to with the scope.
            (F::Customer, Test::Ids(_)) => {}
            (F::EventId, Test::Ids(ids)) if ids.len() <= MAX_LOOKUP => {
                narrow(&mut self.event_ids, ids.clone())
            }
            (F::Action | F::Category | F::Severity | F::EntityType, _) => {
                narrow(&mut self.actions, conditions.actions.passing(*field, test));
            }
            (F::Account | F::AnyAccount, _) => {
                let Some(piece) = conditions.account(*field, test) else { return Ok(false) };
                return self.lead_by_actors(tx, piece).await;
            }
            (F::Actor, Test::Ids(actors)) if actors.len() <= MAX_LOOKUP => {
                return self.lead_by_actors(tx, any_of("actor", actors.clone())).await;
            }
            (F::Address | F::Entity, _) if test.passes_text("") => return Ok(false),
            (F::Address, _) => {
                let Some(piece) = conditions.address(test) else { return Ok(false) };
                let Some(ids) = listed(tx, "addresses", piece).await? else { return Ok(false) };
                narrow(&mut self.addresses, ids);
            }
            (F::Entity, _) => {
                let Some(piece) = conditions.entity(test) else { return Ok(false) };
                let Some(ids) = listed(tx, "entities", piece).await? else { return Ok(false) };
                narrow(&mut self.entities, ids);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The customers and ids of the caller whose own events are asked for; none where `own_of` has no customer.
    pub(super) fn own_pairs(&self) -> impl Iterator<Item = Pair> {
        let callers = if self.own_of.is_empty() { &[] } else { self.callers.as_slice() };
        let is_asked = |(_, id): &&Pair| self.actors.as_ref().is_none_or(|actors| actors.contains(id));
        callers.iter().filter(is_asked).copied()
    }

    /// Narrows the question as its page does.
    pub(super) fn narrow(&mut self, piece: Piece) {
        self.narrowing = Some(match self.narrowing.take() {
            Some(before) => Piece::both(before, piece),
            None => piece,
        });
    }

    /// Column and ids of each filter, the most selective column first.
    pub(super) fn filters(&self) -> impl Iterator<Item = (&'static str, Option<&[i64]>)> {
        [
            ("actor", self.actors.as_deref()),
            ("address", self.addresses.as_deref()),
            ("action", self.actions.as_deref()),
            ("entity", self.entities.as_deref()),
        ]
        .into_iter()
    }
}

/// Whether a condition looks at the dictionary of actions.
fn reads_actions(filter: &Filter<AuditField>) -> bool {
    use AuditField as F;
    match filter {
        Filter::Is(field, _) => matches!(field, F::Action | F::Category | F::Severity | F::EntityType),
        Filter::All(filters) | Filter::Any(filters) => filters.iter().any(reads_actions),
        Filter::Not(filter) => reads_actions(filter),
        Filter::Everything | Filter::Nothing => false,
    }
}

fn narrow<T: Eq + Hash>(list: &mut Option<Vec<T>>, to: Vec<T>) {
    *list = Some(match list.take() {
        Some(mut before) => {
            let to: HashSet<T> = to.into_iter().collect();
            before.retain(|id| to.contains(id));
            before
        }
        None => to,
    });
}

/// Those who fulfil a condition, at some customers.
async fn actors(
    tx: &mut Transaction,
    customers: &[i64],
    piece: Piece,
    most: Option<usize>,
) -> Result<Vec<Pair>, sqlx::Error> {
    let limit = most.map(|most| format!(" LIMIT {most}")).unwrap_or_default();
    // With the sign it is no term of an index: SQLite would look for each actor at each customer.
    let rows =
        sql(format!("SELECT customer, id FROM actors WHERE ({}) AND +customer = ANY(?){limit}", piece.sql))
            .bind_all(piece.values)
            .bind(customers.to_vec())
            .once()
            .fetch_all(tx)
            .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// The ids of a dictionary that fulfil a condition; `None` when they are too many to be listed.
async fn listed(
    tx: &mut Transaction,
    dictionary: &str,
    piece: Piece,
) -> Result<Option<Vec<i64>>, sqlx::Error> {
    let ids: Vec<i64> =
        sql(format!("SELECT id FROM {dictionary} WHERE {} LIMIT {}", piece.sql, MAX_LEADING_IDS + 1))
            .bind_all(piece.values)
            .once()
            .fetch_scalars(tx)
            .await?;
    Ok((ids.len() <= MAX_LEADING_IDS).then_some(ids))
}

async fn lookup<V: Into<Value>>(
    tx: &mut Transaction,
    select: &str,
    values: impl IntoIterator<Item = V>,
) -> Result<Vec<i64>, sqlx::Error> {
    let values: Vec<Value> = values.into_iter().map(Into::into).collect();
    let mut ids = Vec::new();
    for chunk in values.chunks(MAX_LOOKUP) {
        let statement = sql(format!("{select} ({})", vec!["?"; chunk.len()].join(",")));
        let statement = if chunk.len() == 1 { statement } else { statement.once() };
        ids.extend(statement.bind_all(chunk.iter().cloned()).fetch_scalars::<i64>(&mut *tx).await?);
    }
    Ok(ids)
}
