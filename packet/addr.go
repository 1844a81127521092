package packet

import (
	"encoding/binary"
	"net/netip"
)

// Addr is an IP address of either family in 16 bytes, network byte order. An IPv4
// address a.b.c.d is kept as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so tables
// have one key shape. Which family a packet belongs to is said by Flow.V6, never
// guessed from the address. The zero Addr is the IPv6 unspecified address.
type Addr [16]byte

// MAC is an Ethernet address as it stands on the wire.
type MAC [6]byte

// Broadcast is the Ethernet broadcast address.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// AddrFrom4 returns the 16-byte form of an IPv4 address in network byte order.
func AddrFrom4(a [4]byte) (r Addr) {
	r[10], r[11] = 0xff, 0xff
	copy(r[12:], a[:])
	return r
}

// AddrFrom returns the 16-byte form of a; a's zone is dropped, and the zero
// netip.Addr gives the zero Addr.
func AddrFrom(a netip.Addr) Addr {
	if !a.IsValid() {
		return Addr{}
	}
	return a.As16()
}

// Is4 reports whether a holds an IPv4 address in its 16-byte form.
func (a Addr) Is4() bool {
	return binary.BigEndian.Uint64(a[:8]) == 0 && binary.BigEndian.Uint32(a[8:12]) == 0xffff
}

// As4 returns the last four bytes: the IPv4 address when Is4.
func (a Addr) As4() [4]byte { return [4]byte(a[12:]) }

// Netip returns a as a netip.Addr, an IPv4 one when Is4.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// String is the usual text form.
func (a Addr) String() string { return a.Netip().String() }

// Mask returns a with all but its first bits bits cleared; for an IPv4 address bits
// counts within the last four bytes (0..32), for IPv6 within all sixteen (0..128).
func (a Addr) Mask(bits int) Addr {
	if a.Is4() {
		bits += 96
	}
	for i := range a {
		switch keep := bits - 8*i; {
		case keep <= 0:
			a[i] = 0
		case keep < 8:
			a[i] &= 0xff << (8 - keep)
		}
	}
	return a
}
