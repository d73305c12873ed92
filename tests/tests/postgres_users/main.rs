//! What the platform does on somebody else's PostgreSQL, as an admin user that is no superuser.

mod checks;
mod groups;
mod heir;
mod held_up;
mod hostile;
mod lives;
mod removal;
mod server;
mod sessions;
mod tls;
