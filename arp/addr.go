package arp

import "github.com/dirigo-lb/dirigo/packet"

var (
	unspecified4 = packet.AddrFrom4([4]byte{})
	broadcast4   = packet.AddrFrom4([4]byte{255, 255, 255, 255})
	loopback6    = packet.Addr{15: 1}
)

// isUnspecified reports whether a is 0.0.0.0 or ::, the source of address probes.
func isUnspecified(a packet.Addr) bool { return a == unspecified4 || a == packet.Addr{} }

// isUnicast reports whether a may be one host's: not unspecified, this-network,
// loopback, multicast or broadcast (RFC 1122 section 3.2.1.3, RFC 4291 section 2).
func isUnicast(a packet.Addr) bool {
	if a.Is4() {
		return a[12] != 0 && a[12] != 127 && a[12]>>4 != 0xe && a != broadcast4
	}
	return a[0] != 0xff && a != loopback6 && a != packet.Addr{}
}

// isLinkLocal6 reports whether a is in fe80::/10, RFC 4291 section 2.5.6.
func isLinkLocal6(a packet.Addr) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }
