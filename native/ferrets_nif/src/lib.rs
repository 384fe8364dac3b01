//! The NIF library of Ferrets.
