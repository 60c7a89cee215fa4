module example.com/recovery/examples

go 1.26.0

require (
	example.com/recovery v0.0.0
	github.com/matryer/is v1.4.1
)

require (
	github.com/google/uuid v1.6.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace example.com/recovery => ../
