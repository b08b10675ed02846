//! One conformance suite for the store, over both databases.
//!
//! Postgres needs a server: run the tests with `make test`, or through
//! `scripts/with-postgres.sh`. `UNDERTONE_TEST_POSTGRES` holds the address of a server where
//! databases may be made, or `skip`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod addresses;
mod attendance;
mod audit;
mod budget;
mod concurrency;
mod control;
mod enrolment;
mod fixture;
mod inputs;
mod leases;
mod messages;
mod page_sessions;
mod postgres;
mod retention;
mod rounds;
mod schema;
mod tasks;
mod tokens;
mod unmasking;

use undertone_server::store::Store;

/// Every promise of the trait that one open store can show.
async fn conformance<S: Store>(store: &S) {
    store.ping().await.unwrap();
    tasks::made_once_and_read_back(store).await;
    tasks::listed_in_order(store).await;
    control::paused_tasks_open_no_round(store).await;
    control::cancelled_tasks_end_for_ever(store).await;
    control::finished_tasks_are_not_controlled(store).await;
    control::listed_page_by_page(store).await;
    budget::stops_the_task_for_ever(store).await;
    budget::that_lasts_to_the_end_stops_nothing(store).await;
    budget::is_looked_at_before_a_round_opens(store).await;
    budget::participants_are_counted(store).await;
    control::rounds_tell_who_dropped_out(store).await;
    tokens::made_once_and_read_back(store).await;
    tokens::revoked_once_for_ever(store).await;
    tokens::uses_are_noted(store).await;
    enrolment::a_token_takes_one_key_in_its_time(store).await;
    page_sessions::opened_found_and_closed(store).await;
    page_sessions::end_with_their_token(store).await;
    page_sessions::go_with_an_erased_token(store).await;
    page_sessions::tasks_at_a_glance(store).await;
    rounds::opened_in_order_one_at_a_time(store).await;
    rounds::phases_close_in_order(store).await;
    rounds::ended_with_a_sum(store).await;
    rounds::ended_without_one(store).await;
    rounds::last_round_finishes_the_task(store).await;
    rounds::unknown_ids(store).await;
    messages::stored_once_while_the_phase_is_open(store).await;
    messages::listed_by_sender(store).await;
    messages::repeated_is_told_from_late(store).await;
    inputs::are_summed_once(store).await;
    inputs::of_any_width_and_length(store).await;
    inputs::of_a_batch_fare_each_on_its_own(store).await;
    inputs::need_their_vector(store).await;
    inputs::of_another_shape_change_nothing(store).await;
    concurrency::inputs_at_once_sum_exactly(store).await;
    concurrency::batches_at_once_sum_exactly(store).await;
    concurrency::one_sender_at_once_is_added_once(store).await;
    concurrency::what_is_acknowledged_is_counted_when_a_phase_closes(store).await;
    concurrency::one_of_many_opens_closes_and_ends(store).await;
    concurrency::dropped_calls_leave_nothing_half_done(store).await;
    leases::the_clock_is_the_databases(store).await;
    leases::are_held_by_one_until_they_run_out(store).await;
    leases::of_tasks_that_are_over_are_dropped(store).await;
    leases::one_of_many_holds_each(store).await;
    attendance::is_kept_beyond_the_messages(store).await;
    attendance::is_what_rounds_are_planned_from(store).await;
    attendance::tells_when_a_client_gave_input_last(store).await;
    unmasking::begins_once_and_closes_the_phase(store).await;
    unmasking::chunks_are_done_once_and_erased(store).await;
    unmasking::chunks_go_to_one_each(store).await;
    audit::every_change_leaves_its_entry(store).await;
    audit::failed_rounds_say_what_they_revealed(store).await;
    audit::what_was_not_done_leaves_none(store).await;
    audit::entries_name_who_acts(store).await;
    audit::appended_at_once_make_one_chain(store, store).await;
    audit::pages_and_chains(store).await;
    enrolment::of_keys_at_once_one_gets_in(store, store).await;
    retention::rounds_lose_what_is_large(store).await;
    retention::old_adapters_go_and_the_current_one_stays(store).await;
    retention::tokens_go_after_their_time(store).await;
    retention::many_sweep_at_once(store, store).await;
    audit::the_key_is_made_once(store).await;
}

/// Spec.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = fixture::open(&fixture::sqlite_url(&folder)).await;
    Box::pin(conformance(&store)).await;
    store.close().await;
}

/// Spec.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_conforms() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    let store = fixture::open(&database.url).await;
    Box::pin(conformance(&store)).await;
    // A second process, as it were: what one writes the other sees, and locks hold between them.
    let other = fixture::open(&database.url).await;
    concurrency::two_stores_share_rounds(&store, &other).await;
    audit::appended_at_once_make_one_chain(&store, &other).await;
    enrolment::of_keys_at_once_one_gets_in(&store, &other).await;
    retention::many_sweep_at_once(&store, &other).await;
    other.close().await;
    store.close().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_outlasts_a_second_process() {
    // Not how it is meant to be run, but an old process may still be stopping.
    let folder = tempfile::tempdir().unwrap();
    let url = fixture::sqlite_url(&folder);
    let (store, other) = (fixture::open(&url).await, fixture::open(&url).await);
    concurrency::two_stores_share_rounds(&store, &other).await;
    other.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_connections_may_break() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    postgres::broken_connections_are_replaced(&database).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_is_set_up_once_by_many() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    concurrency::many_start_at_once(&database.url).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_is_set_up_once_by_many() {
    let folder = tempfile::tempdir().unwrap();
    concurrency::many_start_at_once(&fixture::sqlite_url(&folder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    rounds::survive_a_new_start(&fixture::sqlite_url(&folder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_what_was_acknowledged() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    rounds::survive_a_new_start(&database.url).await;
    database.drop().await;
}
