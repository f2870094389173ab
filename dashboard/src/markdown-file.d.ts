/** The bundler puts in what the file is made of. */
declare module "*.md" {
  const elements: readonly import("../markdown.ts").Node[];
  export default elements;
}
