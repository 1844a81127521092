package packet

import "encoding/binary"

// AppendRefusal appends to dst a whole IP packet by which a host tells the sender of the
// parsed frame f that there is no such connection: a TCP reset (RFC 9293 section
// 3.10.7.1) or an SCTP ABORT (RFC 9260 section 8.4). It returns the longer slice; dst
// must not overlap f's packet. The header is Linux's: TTL 64, the packet's TOS or traffic
// class, id 0 and DF.
//
// dst comes back unchanged where a host is silent: for a reset or an abort, for what
// answers one in SCTP, a wrong checksum, another protocol, a fragment, and a sender or
// destination that is not one host.
func AppendRefusal(dst []byte, f *Frame) []byte {
	if !f.answerable() || f.Fragment() || !f.VerifyTransport() {
		return dst
	}
	switch f.Flow.Proto {
	case TCP:
		return appendReset(dst, f)
	case SCTP:
		return appendAbort(dst, f)
	}
	return dst
}

func appendReset(dst []byte, f *Frame) []byte {
	if f.TCPFlags&RST != 0 {
		return dst
	}
	t := f.Buf[f.L4:f.IPEnd]
	var seq, ack uint32
	flags := uint8(RST)
	if f.TCPFlags&ACK != 0 {
		seq = binary.BigEndian.Uint32(t[8:])
	} else {
		flags |= ACK
		ack = binary.BigEndian.Uint32(t[4:]) + uint32(len(t)) - uint32(t[12]>>4)*4
		if f.TCPFlags&SYN != 0 {
			ack++
		}
		if f.TCPFlags&FIN != 0 {
			ack++
		}
	}
	dst, reply := f.appendReplyHeader(dst, f.tos(), tcpLen)
	at := len(dst)
	dst = reply.appendPorts(dst)
	dst = binary.BigEndian.AppendUint32(dst, seq)
	dst = binary.BigEndian.AppendUint32(dst, ack)
	dst = append(dst, tcpLen<<2, flags, 0, 0, 0, 0, 0, 0) // window, checksum, urgent pointer
	binary.BigEndian.PutUint16(dst[at+tcpCheck:], ^Fold(Sum(dst[at:], PseudoSum(reply.Flow, TCP, tcpLen))))
	return dst
}

// appendAbort reflects the packet's verification tag, and says so by the T bit; the tag
// that answers an INIT is the one it proposes (sctp_sf_ootb, sctp_sf_tabort_8_4_8).
func appendAbort(dst []byte, f *Frame) []byte {
	t := f.Buf[f.L4:f.IPEnd]
	tag, reflected := binary.BigEndian.Uint32(t[4:]), byte(1)
	for at := uint32(sctpLen); at+chunkLen <= uint32(len(t)); {
		size := uint32(binary.BigEndian.Uint16(t[at+2:]))
		if size < chunkLen || at+size > uint32(len(t)) {
			break
		}
		switch t[at] {
		case ChunkAbort, ChunkShutdownComplete:
			return dst
		case ChunkInit:
			if size >= 8 {
				tag, reflected = binary.BigEndian.Uint32(t[at+4:]), 0
			}
		}
		at += (size + 3) &^ 3
	}
	const size = sctpLen + chunkLen
	dst, reply := f.appendReplyHeader(dst, 2, size) // ECT(0), as its sockets say
	at := len(dst)
	dst = reply.appendPorts(dst)
	dst = binary.BigEndian.AppendUint32(dst, tag)
	dst = append(dst, 0, 0, 0, 0, ChunkAbort, reflected, 0, chunkLen)
	binary.LittleEndian.PutUint32(dst[at+sctpCheck:], SCTPChecksum(dst[at:]))
	return dst
}

// appendReplyHeader appends the IP header of an answer with size bytes of payload, and
// returns what the answer's ends are.
func (f *Frame) appendReplyHeader(dst []byte, tos uint8, size int) ([]byte, Spec) {
	fl := f.Flow
	fl.Src, fl.Dst, fl.SrcPort, fl.DstPort = fl.Dst, fl.Src, fl.DstPort, fl.SrcPort
	if fl.V6 {
		return appendIPv6(dst, fl.Src, fl.Dst, tos, fl.Proto, defaultTTL, size), Spec{Flow: fl}
	}
	return appendIPv4(dst, fl.Src, fl.Dst, ipv4Fields{tos: tos, proto: fl.Proto, ttl: defaultTTL, df: true}, size), Spec{Flow: fl}
}

// tos is the packet's TOS or traffic class.
func (f *Frame) tos() uint8 {
	b := f.Buf[f.L3:]
	if f.Flow.V6 {
		return b[0]<<4 | b[1]>>4
	}
	return b[1]
}
