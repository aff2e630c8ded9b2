"""Pure: what a registration means and what a firmware journey does next. No sockets, no clocks, no Redis."""
