// A stream processor: puts a mark behind every so many words.
package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"unicode"
	"unsafe"
)

type args struct {
	Every int    `json:"every"`
	Mark  string `json:"mark"`
}

type session struct {
	args
	words  int
	inWord bool
}

func open(text string) (*session, error) {
	s := &session{args: args{Every: 5, Mark: " |"}}
	return s, json.Unmarshal([]byte(text), &s.args)
}

func (s *session) push(text string) []event {
	var said strings.Builder
	for _, c := range text {
		if space := unicode.IsSpace(c); space && s.inWord {
			s.inWord = false
			if s.words++; s.words%s.Every == 0 {
				said.WriteString(s.Mark)
			}
		} else if !space {
			s.inWord = true
		}
		said.WriteRune(c)
	}
	return []event{{tag: 0, text: str(said.String())}}
}

func (s *session) close() []event {
	meta, _ := json.Marshal(map[string]int{"words": s.words})
	return []event{{tag: 3, text: str(string(meta))}}
}

// What follows is the interface, by hand: the canonical ABI of wit/plugin.wit's `streaming`.

type wstr struct{ ptr, len uint32 }

// As large as `tool-delta` makes it.
type event struct {
	tag  uint8
	text wstr
	_    [7]uint32
}

var (
	// What the host still reads is kept from the collector until the next call.
	kept     [][]byte
	held     []unsafe.Pointer
	sessions = map[int32]*session{}
	last     int32
	about    [3]wstr
	opened   [3]uint32
	list     wstr
	calls    int
)

func str(s string) wstr {
	if s == "" {
		return wstr{1, 0}
	}
	held = append(held, unsafe.Pointer(unsafe.StringData(s)))
	return wstr{uint32(uintptr(unsafe.Pointer(unsafe.StringData(s)))), uint32(len(s))}
}

func given(ptr, size int32) string {
	return strings.Clone(unsafe.String((*byte)(unsafe.Pointer(uintptr(ptr))), int(size)))
}

//go:wasmexport cabi_realloc
func realloc(ptr, was, align, size int32) int32 {
	if size == 0 {
		return align
	}
	buffer := make([]uint64, (size+7)/8)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&buffer[0])), size)
	if was > 0 {
		copy(bytes, unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), was))
	}
	kept = append(kept, bytes)
	return int32(uintptr(unsafe.Pointer(&bytes[0])))
}

//go:wasmimport [export]minerva:plugin/streaming@0.1.0 [resource-new]session
func resourceNew(rep int32) int32

//go:wasmexport minerva:plugin/streaming@0.1.0#describe
func wDescribe() int32 {
	about = [3]wstr{
		str("0.1.0"),
		str("Puts a mark behind every so many words."),
		str(`{"type": "object", "additionalProperties": false, "properties": {
			"every": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5},
			"mark": {"type": "string", "maxLength": 16, "default": " |", "examples": [" /"]}}}`),
	}
	return int32(uintptr(unsafe.Pointer(&about)))
}

//go:wasmexport minerva:plugin/streaming@0.1.0#[static]session.open
func wOpen(ptr, size int32) int32 {
	s, err := open(given(ptr, size))
	kept = nil
	if err != nil {
		words := str(err.Error())
		opened = [3]uint32{1, words.ptr, words.len}
	} else {
		last++
		sessions[last] = s
		opened = [3]uint32{0, uint32(resourceNew(last)), 0}
	}
	return int32(uintptr(unsafe.Pointer(&opened)))
}

func events(events []event) int32 {
	held = append(held, unsafe.Pointer(unsafe.SliceData(events)))
	list = wstr{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(events)))), uint32(len(events))}
	return int32(uintptr(unsafe.Pointer(&list)))
}

//go:wasmexport minerva:plugin/streaming@0.1.0#[method]session.push
func wPush(self, ptr, size, tokens, count int32) int32 {
	// Left to itself, the collector lets memory grow by more than the law allows.
	if calls++; calls%64 == 0 {
		runtime.GC()
	}
	held = nil
	text := given(ptr, size)
	kept = nil
	return events(sessions[self].push(text))
}

//go:wasmexport minerva:plugin/streaming@0.1.0#[method]session.close
func wClose(self, reason int32) int32 {
	held = nil
	return events(sessions[self].close())
}

//go:wasmexport minerva:plugin/streaming@0.1.0#[dtor]session
func wDrop(self int32) { delete(sessions, self) }


func main() {}
