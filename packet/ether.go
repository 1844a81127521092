package packet

import "encoding/binary"

// Ethertypes, from the IANA registry IEEE 802 Numbers.
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherVLAN = 0x8100
	EtherIPv6 = 0x86dd
)

// Multicast reports whether m is a group address, broadcast included: the lowest bit of
// its first byte, IEEE 802.3 section 3.2.3.
func (m MAC) Multicast() bool { return m[0]&1 != 0 }

// DstMAC returns the destination address of a frame that has an Ethernet header.
func (f *Frame) DstMAC() MAC { return MAC(f.Buf[f.Start:][:6]) }

// IsTo reports whether a frame that has an Ethernet header is addressed to mac.
func (f *Frame) IsTo(mac *MAC) bool { return *(*MAC)(f.Buf[f.Start:][:6]) == *mac }

// SrcMAC returns the source address of a frame that has an Ethernet header.
func (f *Frame) SrcMAC() MAC { return MAC(f.Buf[f.Start+6:][:6]) }

// SetMACs writes both addresses of a frame that has an Ethernet header.
func (f *Frame) SetMACs(dst, src *MAC) {
	b := (*[12]byte)(f.Buf[f.Start:][:12])
	copy(b[:6], dst[:])
	copy(b[6:], src[:])
}

// PutEthernet puts an Ethernet header before the IP packet of a frame that has none,
// taking 14 bytes of the headroom; a frame that has one gets the addresses only. The
// ethertype follows the IP version.
func (f *Frame) PutEthernet(dst, src *MAC) {
	if !f.L2 {
		ethertype := uint16(EtherIPv4)
		if f.Buf[f.Start]>>4 == 6 {
			ethertype = EtherIPv6
		}
		f.moveStart(-etherLen)
		f.L2 = true
		binary.BigEndian.PutUint16(f.Buf[f.Start+12:], ethertype)
	}
	f.SetMACs(dst, src)
}

// StripEthernet takes the Ethernet header off a frame, if it has one, for a port
// without link layer.
func (f *Frame) StripEthernet() {
	if f.L2 {
		f.moveStart(etherLen)
		f.L2 = false
	}
}

// moveStart moves the beginning of the frame by n bytes, and with it what the offload
// state counts from there.
func (f *Frame) moveStart(n int32) {
	f.Start += uint32(n)
	if f.Vnet.Flags&VnetNeedsCsum != 0 {
		f.Vnet.CsumStart -= uint16(n)
	}
	if f.Vnet.HdrLen != 0 {
		f.Vnet.HdrLen -= uint16(n)
	}
}
