//! The same scenarios under tokio, under smol and in the simulator: whatever a stream does in one, it does in all.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

mod cancelling;
mod embedding;
mod measuring;
mod pool;
mod real;
mod runtimes;
mod scenarios;
mod simulated;
mod stage;
mod targets;

macro_rules! parity {
    ($($scenario:ident),* $(,)?) => {
        mod tokio { $( #[test] fn $scenario() { crate::scenarios::$scenario::<crate::real::Real<adit_tokio::Tokio>>(); } )* }
        mod smol { $( #[test] fn $scenario() { crate::scenarios::$scenario::<crate::real::Real<adit_smol::Smol>>(); } )* }
        mod sim { $( #[test] fn $scenario() { crate::scenarios::$scenario::<crate::simulated::Simulated>(); } )* }
    };
}

parity! {
    bytes_go_to_a_target_and_come_back,
    the_client_may_finish_first,
    the_target_may_finish_first,
    two_hundred_streams_run_at_once,
    twenty_megabytes_go_each_way,
    a_refused_target_is_told,
    a_denied_target_is_told,
    an_unreachable_target_is_told,
    a_reader_that_waits_holds_the_target_back,
    a_dropped_stream_resets_its_target,
    a_wish_that_is_dropped_leaves_nothing,
    streams_are_opened_again_after_a_gateways_restart,
    streams_are_opened_again_after_a_relays_restart,
    a_gateway_that_is_shut_down_gives_its_allocation_back,
}

/// What only programs see that embed a gateway or a connector.
macro_rules! embedding {
    ($($room:ident::$scenario:ident),* $(,)?) => {
        mod embedded_in_tokio { $( #[test] fn $scenario() { crate::$room::$scenario::<adit_tokio::Tokio>(); } )* }
        mod embedded_in_smol { $( #[test] fn $scenario() { crate::$room::$scenario::<adit_smol::Smol>(); } )* }
    };
}

embedding! {
    embedding::a_program_is_a_target_without_a_port,
    embedding::a_program_dials_by_itself,
    embedding::a_judge_decides_by_peer_and_target,
    embedding::relays_are_discovered_and_followed,
    embedding::events_are_a_stream,
    embedding::a_relay_tells_its_events_to_a_task,
    embedding::a_gateway_drains_before_it_is_shut_down,
    embedding::errors_tell_whether_trying_again_may_help,
    embedding::a_builder_names_what_is_missing,
    embedding::a_handler_that_panics_resets_its_stream_and_no_other,
    cancelling::an_open_that_is_dropped_at_any_poll_leaves_nothing,
    cancelling::an_open_that_is_dropped_at_any_time_leaves_nothing,
    cancelling::reads_that_are_dropped_lose_no_byte,
    cancelling::writes_that_are_dropped_lose_no_byte,
    cancelling::a_shutdown_that_is_dropped_ends_the_gateway_all_the_same,
    cancelling::a_wait_for_events_that_is_dropped_loses_none,
    cancelling::a_drain_that_is_dropped_goes_on,
    cancelling::a_forwarding_that_is_dropped_frees_its_port,
    pool::streams_are_spread_over_instances,
    pool::an_instance_that_leaves_is_not_noticed,
    pool::an_instance_that_falls_silent_costs_seconds,
    pool::an_instance_that_is_not_reached_costs_seconds,
    pool::what_a_target_refuses_is_not_tried_elsewhere,
    pool::a_pool_of_nobody_opens_nothing,
    pool::new_certificates_in_a_pool_end_no_stream,
    pool::an_open_of_a_pool_that_is_dropped_leaves_nothing,
    pool::a_sign_of_life_is_waited_for,
    pool::a_connector_learns_its_own_address,
}
