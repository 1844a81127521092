// Package via lets the director's own host be a client of one real server: its
// connections go to the service's address, through the director, by the server's
// forwarding method. So a server is found that answers at its own address and no client:
// the VIP missing on lo, a wrong gateway, no decapsulation.
//
// It knows sockets, source addresses and pins; it must not know what is asked, nor rings
// and rewriting.
//
// The way of a connection. Its socket is bound to the TUN that leads from the director to
// the host (SO_BINDTODEVICE): whatever it sends goes there, and it hears of nothing that
// the host received by itself. The source is an address of the host, its port one of
// Ports. Before the first packet the connection is pinned in the connection table
// (dataplane.Pin). The server's answer comes in by a port of the director as a client's
// would; the guard keeps the host off it (host.Rules.LocalPorts), and the director gives
// it back through the TUN, with the service as its source.
package via
