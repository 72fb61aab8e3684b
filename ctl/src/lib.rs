//! The control protocol, its server, vrouterd and vrctl.
