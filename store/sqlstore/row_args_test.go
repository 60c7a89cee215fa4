package sqlstore

import (
	"testing"

	"github.com/matryer/is"
)

func TestArrays(t *testing.T) {
	is := is.New(t)
	var r rowArgs
	r.add(`a"b\c,{}`, []byte{0, 255}, int64(-7))
	r.add("", []byte{}, int64(0))
	r.add("NULL", nil, int64(1))
	is.Equal(r.args(PostgreSQL), []any{`{"a\"b\\c,{}","","NULL"}`, `{"\\x00ff","\\x",NULL}`, `{-7,0,1}`})
	is.Equal(r.args(SQLite), []any{`a"b\c,{}`, []byte{0, 255}, int64(-7), "", []byte{}, int64(0), "NULL", nil, int64(1)})
	is.Equal(r.expand("VALUES {(?, ?, ?)} END"), "VALUES (?, ?, ?), (?, ?, ?), (?, ?, ?) END")
	is.Equal(r.expand("no braces"), "no braces")
	is.Equal((&rowArgs{columns: 2}).args(PostgreSQL), []any{"{}", "{}"}) // no row
}

func TestPieces(t *testing.T) {
	is := is.New(t)
	var r rowArgs
	for i := range 21 {
		r.add(int64(i), int64(-i))
	}
	var sizes []int
	var values []any
	for _, some := range r.pieces(SQLite) {
		sizes = append(sizes, some.len())
		values = append(values, some.values...)
	}
	is.Equal(sizes, []int{16, 4, 1})
	is.Equal(values, r.values)
	is.Equal(len(r.pieces(MySQL)), 1)
	is.Equal(r.len(), 21)
	for _, d := range dialects {
		is.Equal(len((&rowArgs{}).pieces(d)), 0)
	}
}
