// Package conf is the desired state of a director: its types, the TOML file that
// spells it, defaults, validation and the difference between two states. It must not
// know runtime counters, connections or sockets.
package conf
