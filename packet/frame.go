package packet

// Flow names a packet's two ends as they stand in its headers. Ports are in host
// byte order and zero where the protocol or the fragment has none.
type Flow struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Proto            uint8 // IP protocol number of the transport header (after IPv6 extension headers)
	V6               bool
}

// IP protocol numbers, from the IANA registry.
const (
	ICMP   = 1
	IPIP   = 4
	TCP    = 6
	UDP    = 17
	IPv6   = 41 // IPv6 encapsulation
	GRE    = 47
	ESP    = 50
	AH     = 51
	ICMPv6 = 58
	SCTP   = 132
)

// TCP flag bits, RFC 9293 section 3.1.
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	PSH = 0x08
	ACK = 0x10
	URG = 0x20
)

// Vnet is the offload state of a frame: the fields of struct virtio_net_hdr
// (linux/virtio_net.h), decoded from the host's byte order. The zero Vnet means a
// frame whose checksums are complete and which is not a super-frame.
type Vnet struct {
	Flags      uint8  // VnetNeedsCsum: the transport checksum field holds only the pseudo-header sum
	GSOType    uint8  // VnetGSO…; VnetGSONone for an ordinary frame
	HdrLen     uint16 // bytes of headers before the payload of a super-frame, from Start
	GSOSize    uint16 // payload bytes of each segment
	CsumStart  uint16 // where checksumming starts, from Start
	CsumOffset uint16 // where the checksum field is, from CsumStart
}

// Values of Vnet.Flags and Vnet.GSOType, from linux/virtio_net.h.
const (
	VnetNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	VnetDataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID

	VnetGSONone  = 0
	VnetGSOTCPv4 = 1
	VnetGSOUDP   = 3
	VnetGSOTCPv6 = 4
	VnetGSOUDPL4 = 5
	VnetGSOECN   = 0x80 // flag beside a TCP type
)

// Headroom is what a port keeps free before a received frame, in bytes, so that
// headers can be put in front in place: an outer IPv6 header (40), UDP (8), GUE or
// GRE with options (16), and an Ethernet header where there was none (14), rounded up.
const Headroom = 96

// Frame is one frame on its way through the director. Buf is lent by the port that
// received it and belongs to the pipeline until the port's Release; the frame is
// Buf[Start:End], and there are at least Headroom bytes before the Start it was
// received with. Offsets are from the beginning of Buf.
//
// Parse fills everything below "set by Parse"; later stages never count bytes again
// and keep the offsets true when they move headers.
type Frame struct {
	Buf   []byte
	Start uint32 // the Ethernet header, or the IP header if !L2
	End   uint32 // one past the last byte received
	Port  uint16 // index of the port it came in by
	L2    bool   // has an Ethernet header
	Vnet  Vnet

	// set by Parse
	L3       uint32 // the IP header
	L4       uint32 // the transport header; equals IPEnd when there is none (later fragments)
	IPEnd    uint32 // end of the IP packet: Ethernet padding is beyond it
	Flow     Flow
	TCPFlags uint8  // low eight flag bits, TCP only
	TTL      uint8  // TTL or hop limit
	FragOff  uint16 // fragment offset in bytes
	MoreFrag bool   // more fragments follow
	DF       bool   // IPv4 don't fragment; always true for IPv6
}

// Fragment reports whether the frame is a fragment, the first included.
func (f *Frame) Fragment() bool { return f.FragOff != 0 || f.MoreFrag }

// Bytes is the frame as it stands, a view into the lent buffer.
func (f *Frame) Bytes() []byte { return f.Buf[f.Start:f.End] }

// IPLen is the length of the IP packet in bytes, as counted by IPVS statistics.
func (f *Frame) IPLen() int { return int(f.IPEnd - f.L3) }
