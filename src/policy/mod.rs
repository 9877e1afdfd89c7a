//! Policy files become the table that is used per request.
pub mod table;
