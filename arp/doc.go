// Package arp is the director's neighbour cache and responder, for IPv4 (ARP, RFC 826)
// and IPv6 (Neighbor Discovery, RFC 4861) alike. It asks for the MAC addresses of real
// servers, gateways and clients, holds a few frames while it waits, answers for the
// virtual IPs (VIPs) a port owns, and announces them.
//
// It is a step machine: no socket, goroutine, timer or clock of its own. Instants are
// arguments (time.Duration on the data plane's clock), and the frames to send are
// results. It knows ports, addresses and MACs; it must not know services, VRRP or
// sockets.
//
// The states are the kernel's (NUD_* in linux/neighbour.h). Unlike the kernel it
// creates no entry from somebody else's announcement, and it lets no announcement
// replace a MAC that has answered a query before that MAC was asked by unicast and
// stayed silent.
package arp
