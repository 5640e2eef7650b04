[
  inputs: ["{mix,.formatter}.exs", "native/*.exs", "{lib,audit,test,bench,examples,demo}/**/*.{ex,exs}"],
  line_length: 120
]
