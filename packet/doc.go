// Package packet turns bytes into fields and back: Ethernet, ARP, IPv4, IPv6, TCP,
// UDP and ICMP headers, checksums, flows, and the frame that travels through the
// director. It knows header layouts; it must not know services, time or sockets,
// and it imports the standard library only.
package packet
