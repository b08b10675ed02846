//! The service and its clients, end to end. One program, since linking one for each file takes longer
//! than its tests; those that need a process, or the machine, to themselves are programs of their own
//! (`Cargo.toml`).

mod admin;
mod audit;
mod bad_dealer;
mod bad_input;
mod command_line;
mod configuration;
mod dashboard;
mod distributed;
mod federated;
mod fresh_secrets;
mod http_binding;
mod killed_server;
mod limits;
mod long_polls;
mod openapi;
mod page_http;
mod python_client;
mod ring_round;
mod scheduling;
mod transport;
mod upload_load;
mod vanishing_clients;
