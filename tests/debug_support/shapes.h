typedef struct hidden hidden_t;

hidden_t *make_hidden(int size, void *log);
