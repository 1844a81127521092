// Package control is the director's single writer: file, commands and the host's routes
// become the next snapshot of the data plane, and the guard, the neighbour cache and the
// policy rules follow. It serves the control socket. It must not know packets or argv.
package control
