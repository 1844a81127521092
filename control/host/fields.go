package host

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reg0 is the first of the sixteen 32-bit registers of nf_tables.
const reg0 = unix.NFT_REG32_00

// field is a place in a header: offset and length in bytes.
type field struct{ off, len uint32 }

// fields says where a family keeps what the guard looks at.
type fields struct {
	src, dst   field      // in the IP header
	icmp       byte       // protocol number of the family's ICMP
	icmpErrors []byte     // types of its errors
	later      []expr.Any // matches fragments after the first, which have no ports
	plainQuote []expr.Any // matches ICMP errors whose quoted header has the plain length
	quoted     struct{ src, dst, proto, sport, dport field }
}

// quoteAt is where the quoted packet starts in an ICMP or ICMPv6 error, in bytes from
// the ICMP header (RFC 792, RFC 4443 section 3).
const quoteAt = 8

func fieldsOf(v6 bool) (f fields) {
	if v6 {
		f = fields{src: field{8, 16}, dst: field{24, 16}, icmp: unix.IPPROTO_ICMPV6}
		f.icmpErrors = []byte{1, 2, 3, 4} // RFC 4443 section 2.1: errors are below 128; these are defined
		f.later = []expr.Any{
			// Fragment header, RFC 8200 section 4.5: 13 bits of offset, two reserved, M.
			&expr.Exthdr{DestRegister: reg0, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
			&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 2, Mask: []byte{0xff, 0xf8}, Xor: []byte{0, 0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: []byte{0, 0}},
		}
		f.quoted.proto = field{6, 1}
		f.quoted.sport, f.quoted.dport = field{40, 2}, field{42, 2}
	} else {
		f = fields{src: field{12, 4}, dst: field{16, 4}, icmp: unix.IPPROTO_ICMP}
		f.icmpErrors = []byte{3, 4, 11} // those IPVS relates to connections: ip_vs_core.c, ip_vs_in_icmp
		f.later = []expr.Any{
			// RFC 791 section 3.1: three flag bits, 13 bits of fragment offset.
			load(reg0, expr.PayloadBaseNetworkHeader, 6, 2),
			&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 2, Mask: []byte{0x1f, 0xff}, Xor: []byte{0, 0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: []byte{0, 0}},
		}
		// Offsets in the quote are constants, so it must have no options: version 4, IHL 5.
		f.plainQuote = []expr.Any{load(reg0, expr.PayloadBaseTransportHeader, quoteAt, 1), equal(reg0, 0x45)}
		f.quoted.proto = field{9, 1}
		f.quoted.sport, f.quoted.dport = field{20, 2}, field{22, 2}
	}
	f.quoted.src, f.quoted.dst = f.src, f.dst
	return f
}

// key loads a concatenation into consecutive registers, each part from a register of
// its own on. Values are copied, so a shorter key may be continued in several ways.
type key struct {
	exprs []expr.Any
	regs  uint32
}

func (k key) add(e func(reg uint32) expr.Any, bytes uint32) key {
	exprs := append(k.exprs[:len(k.exprs):len(k.exprs)], e(reg0+k.regs))
	return key{exprs, k.regs + (bytes+3)/4}
}

func (k key) payload(base expr.PayloadBase, off, n uint32) key {
	return k.add(func(reg uint32) expr.Any { return load(reg, base, off, n) }, n)
}

func (k key) net(f field) key { return k.payload(expr.PayloadBaseNetworkHeader, f.off, f.len) }

// th loads from the transport header; the kernel ends the rule without a match when
// there is none, as in later fragments (nft_payload_eval).
func (k key) th(off, n uint32) key { return k.payload(expr.PayloadBaseTransportHeader, off, n) }

func (k key) quote(f field) key { return k.th(quoteAt+f.off, f.len) }

func (k key) l4proto() key {
	return k.add(func(reg uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg} }, 1)
}

func load(reg uint32, base expr.PayloadBase, off, n uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: off, Len: n}
}

func equal(reg uint32, data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// native32 is how nf_tables keeps its own numbers, such as address types.
func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
