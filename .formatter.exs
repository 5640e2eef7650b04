[
  inputs: ["{mix,.formatter}.exs", "native/*.exs", "{lib,test,bench,examples,demo}/**/*.{ex,exs}"],
  line_length: 120
]
